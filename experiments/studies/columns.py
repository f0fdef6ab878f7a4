"""What the columns of a study's tables hold, and how a table is read."""

from collections.abc import Callable, Mapping
import csv
import io
import math
from pathlib import Path
from typing import Any

from experiments import errors
from experiments import gzipped
from experiments import parsing
from experiments.studies import comparisons
from experiments.studies import results
from experiments.studies.frames import MISSING

# Ten times the largest table of ours, unpacked.
_MOST = 2**26


def table(path: Path, columns: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
  """Reads a table.

  Args:
    path: the CSV file; where it is not, it is looked for as `NAME.csv.gz`.
    columns: those that it must have, each with what makes a value of its text;
      a `ValueError` says what it should have been.

  Returns:
    Its rows, none where there is no file or nothing in it.

  Raises:
    StorageError: it is damaged.
  """
  path = _file_of(path)
  content = _content(path)
  try:
    reader = csv.DictReader(io.StringIO(content, newline=''), strict=True)
    names = reader.fieldnames or []
    if names and not content.endswith('\n'):
      raise errors.StorageError(
        f'{path} is damaged: its last line does not end.'
      )
    if names and (missing := [x for x in columns if x not in names]):
      raise errors.StorageError(
        f'{path} is damaged or no table of a study: it has no column '
        f'{missing[0]!r}.'
      )
    return tuple(
      {**row, **_converted(path, reader.line_num, row, columns)}
      for row in reader
    )
  except csv.Error as e:
    raise errors.StorageError(f'{path} is damaged ({e}).') from e


def _file_of(path: Path) -> Path:
  """Where a table lies, which may be gzipped."""
  packed = path.with_name(path.name + gzipped.SUFFIX)
  if not packed.exists():
    return path
  if path.exists():
    raise errors.StorageError(
      f'{path} and {packed} are both there; remove the one that is older.'
    )
  return packed


def _content(path: Path) -> str:
  """What is in a file; '' where there is none."""
  try:
    return gzipped.read(path, _MOST).decode('utf-8')
  except FileNotFoundError:
    return ''
  except ValueError as e:
    raise errors.StorageError(f'{path} is damaged ({e}).') from e


def _converted(
  path: Path, line: int, row: Mapping[str, str], columns: Mapping[str, Any]
) -> dict[str, Any]:
  if None in row or None in row.values():
    raise errors.StorageError(
      f'{path} is damaged: line {line} has not as many values as there are '
      'columns.'
    )
  found = {}
  for name, convert in columns.items():
    try:
      found[name] = convert(row[name])
    except ValueError as e:
      raise errors.StorageError(
        f'{path} is damaged: in line {line}, {name} is {row[name]!r}, which is '
        f'not {e}.'
      ) from None
  return found


def _name(text: str) -> str:
  if not text or not text.isprintable():
    raise ValueError('a printable name')
  return text


def _number(text: str) -> float:
  """A number; NaN where there is none."""
  try:
    return float(text) if text else math.nan
  except ValueError:
    raise ValueError('a number') from None


def _finite(text: str) -> float:
  found = _number(text)
  if math.isinf(found):
    raise ValueError('a finite number')
  return found


def _whole(text: str) -> int:
  try:
    return int(text)
  except ValueError:
    raise ValueError('a whole number') from None


def _whole_from(low: int) -> Callable[[str], int]:
  def convert(text: str) -> int:
    found = _whole(text)
    if found < low:
      raise ValueError(f'a whole number from {low}')
    return found

  return convert


_count, _place = _whole_from(0), _whole_from(1)


def _deviation(text: str) -> float:
  found = _finite(text)
  if found < 0:
    raise ValueError('a deviation from 0')
  return found


def _fraction(text: str) -> float:
  found = _number(text)
  if not (math.isnan(found) or 0 <= found <= 1):
    raise ValueError('a fraction from 0 to 1')
  return found


def _numbers(text: str) -> dict[str, float]:
  wrong = ValueError('a JSON object of numbers')
  try:
    found = parsing.parse(text)
  except ValueError:
    raise wrong from None
  if not isinstance(found, dict):
    raise wrong
  if not all(isinstance(x, int | float) for x in found.values()):
    raise wrong
  return found


def _text_of_numbers(text: str) -> str:
  # An arm that is still to be tuned has none.
  if text:
    _numbers(text)
  return text


def _status(text: str) -> str:
  if text not in _STATUSES:
    raise ValueError(f'one of {", ".join(_STATUSES)}')
  return text


_STATUSES = (results.FINISHED, results.DIVERGED, MISSING)
_text: Callable[[str], str] = str
_IDENTITY = {'condition': _name, 'ruleset': _name, 'arm': _name}
# What is left to `results.accuracies` and `results.times` stays text.
RESULTS = {
  **_IDENTITY,
  **dict.fromkeys(('seed', 'validation_accuracy', 'test_accuracy'), _text),
  **dict.fromkeys(('steps_to_target', 'seconds_to_target'), _text),
  'hyperparameters': _text_of_numbers,
  'status': _status,
}
TRIALS = {
  'condition': _name,
  'arm': _name,
  'trial': _whole,
  'hyperparameters': _numbers,
  'seed': _whole,
  'validation_accuracy': _fraction,
  'status': _name,
}
COMPARISONS = {
  **dict.fromkeys(comparisons.COLUMNS, _number),
  **_IDENTITY,
  'reference': _name,
  'n': _whole,
}
CURVES = {
  **_IDENTITY,
  **dict.fromkeys(('epoch', 'n'), _whole),
  'steps': _number,
  'mean': _fraction,
  **dict.fromkeys(('ci_low', 'ci_high'), _finite),
}
ALPHA = {
  **_IDENTITY,
  'epoch': _whole,
  'leaf': _name,
  'elements': _number,
  **dict.fromkeys(('alpha_mean', 'alpha_std'), _number),
  'alpha_fraction_near_min': _fraction,
  'alpha_fraction_near_max': _fraction,
  **dict.fromkeys(('gradient_norm', 'update_norm'), _number),
}
# Of streams: every measure of each seed, of each task, and evaluations.
STREAMS = {
  **_IDENTITY,
  'seed': _whole,
  'measure': _name,
  'value': _finite,
  'status': _status,
}
_SPREAD = {'n': _count, 'mean': _finite, 'sd': _deviation}
MEASURES = {**_IDENTITY, 'task': _place, 'measure': _name, **_SPREAD}
EVALUATIONS = {
  **_IDENTITY,
  **dict.fromkeys(('task', 'update', 'evaluated_task'), _place),
  **_SPREAD,
  'mean': _fraction,
}
