"""Reads the tables of a study back, without its cells, and checks them."""

from collections.abc import Callable, Iterable, Mapping
import csv
import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from experiments import errors
from experiments import parsing
from experiments.studies import comparisons
from experiments.studies import directory
from experiments.studies import results as _results
from experiments.studies.tables import ALPHA
from experiments.studies.tables import COMPARISONS
from experiments.studies.tables import CURVES
from experiments.studies.tables import MISSING
from experiments.studies.tables import RESULTS
from experiments.studies.tables import TRIALS

STUDY = directory.FILE

Row = Mapping[str, Any]
# The condition and the ruleset under which arms are compared.
Group = tuple[str, str]


class Condition(NamedTuple):
  """A condition of a study.

  Attributes:
    name: what the tables call it.
    task: the definition of what is learned.
    chance: the accuracy of guessing, a fraction.
    target: the validation accuracy that arms are timed to; None for none.
  """

  name: str
  task: Mapping[str, Any]
  chance: float
  target: float | None


@dataclasses.dataclass(frozen=True)
class Published:
  """A study, as its tables tell it.

  Attributes:
    study: what `study.json` says.
    conditions: by name, in the order of the definition.
    results: the rows of `results.csv`, as text.
    trials: those of `trials.csv`; empty where there is no such table, as are
      all that follow.
    comparisons: those of `comparisons.csv`.
    curves: those of `curves.csv`.
    alpha: those of `alpha.csv`.
  """

  study: Mapping[str, Any]
  conditions: Mapping[str, Condition]
  results: tuple[Row, ...]
  trials: tuple[Row, ...] = ()
  comparisons: tuple[Row, ...] = ()
  curves: tuple[Row, ...] = ()
  alpha: tuple[Row, ...] = ()

  @property
  def name(self) -> str:
    """The name of the study."""
    return self.study['definition']['study']

  @property
  def arms(self) -> tuple[str, ...]:
    """All arms of the study, those that are only tuned, too."""
    return tuple(self.study['arms'])

  @functools.cached_property
  def planned(self) -> dict[Group, dict[str, int]]:
    """By group, by arm, how many seeds there are to be, in order."""
    found: dict[Group, dict[str, int]] = {}
    for name in self.conditions:
      for row in self.results:
        if row['condition'] == name:
          arms = found.setdefault((name, row['ruleset']), {})
          arms[row['arm']] = arms.get(row['arm'], 0) + 1
    return found

  @functools.cached_property
  def accuracies(self) -> _results.Groups:
    """By group, by arm, by seed, the test accuracy that counts."""
    found: _results.Groups = {}
    for condition in self.conditions.values():
      rows = self.rows_of(condition.name)
      found |= _results.accuracies(rows, condition.chance)
    return {key: found[key] for key in self.planned}

  def rows_of(self, condition: str) -> list[Row]:
    """The rows of the results of a condition."""
    return [row for row in self.results if row['condition'] == condition]


def read(path: Path) -> Published:
  """Reads a study directory, which needs no cells.

  Args:
    path: the directory.

  Returns:
    What it holds.

  Raises:
    StorageError: it is no study directory, lacks `results.csv`, or one of its
      tables is damaged or of another study.
  """
  study = _study(path)
  rows = _table(path / RESULTS, _RESULTS)
  if not rows:
    raise errors.StorageError(
      f'{path / RESULTS} is not there or empty: the study has no results to '
      'report yet.'
    )
  conditions = _conditions(path, study, rows)
  found = Published(
    study,
    conditions,
    rows,
    trials=_table(path / TRIALS, _TRIALS),
    comparisons=_table(path / COMPARISONS, _COMPARISONS),
    curves=_table(path / CURVES, _CURVES),
    alpha=_table(path / ALPHA, _ALPHA),
  )
  _check(path, found)
  return found


def _study(path: Path) -> Mapping[str, Any]:
  if not path.is_dir():
    raise errors.StorageError(f'{path} is not a directory.')
  study = directory.read(path)
  if study is None:
    raise errors.StorageError(
      f'{path} is no study directory: it has no {STUDY} that '
      '`python -m experiments.study` wrote.'
    )
  if not directory.is_whole(study):
    raise errors.StorageError(
      f'{path / STUDY} is damaged: it does not define a study.'
    )
  return study


def _conditions(
  path: Path, study: Mapping[str, Any], rows: Iterable[Row]
) -> dict[str, Condition]:
  """The conditions that have results, in the order of the definition."""
  there = {row['condition'] for row in rows}
  defined = study['definition']['conditions']
  known = study.get('conditions') or {}
  if strange := sorted(there - defined.keys()):
    raise errors.StorageError(
      f'{path / RESULTS} has the condition {strange[0]!r}, which {STUDY} does '
      'not define: it is of another study.'
    )
  found = {}
  for name in defined:
    if name not in there:
      continue
    try:
      found[name] = Condition(
        name,
        dict(defined[name]['task']),
        _of_json(known[name]['chance']),
        known[name]['target'] and _of_json(known[name]['target']),
      )
    except (KeyError, TypeError, ValueError):
      raise errors.StorageError(
        f'{path / STUDY} does not say what accuracy chance has under the '
        f'condition {name!r}; run the command of the study once more, which '
        'writes it.'
      ) from None
  return found


def _of_json(value: Any) -> float:
  """An accuracy."""
  if not 0 <= value <= 1:
    raise ValueError('no fraction from 0 to 1')
  return float(value)


def _check(path: Path, found: Published) -> None:
  """Refuses tables that do not belong together."""
  try:
    groups = found.accuracies
    for column in ('steps_to_target', 'seconds_to_target'):
      _results.times(found.results, column)
  except errors.StorageError as e:
    raise errors.StorageError(f'{path / RESULTS} is damaged: {e}') from e
  for name, rows in (
    (COMPARISONS, found.comparisons),
    (CURVES, found.curves),
    (ALPHA, found.alpha),
  ):
    for row in rows:
      key = row['condition'], row['ruleset']
      for arm in (row['arm'], row.get('reference', row['arm'])):
        if arm not in groups.get(key, {}):
          raise errors.StorageError(
            f'{path / name} has the arm {arm!r} under {key[0]!r} and '
            f'{key[1]!r}, which {RESULTS} has not: it is of another study.'
          )
  for row in found.trials:
    if row['arm'] not in found.study['arms']:
      raise errors.StorageError(
        f'{path / TRIALS} has the arm {row["arm"]!r}, which {STUDY} has not: '
        'it is of another study.'
      )


def _table(path: Path, columns: Mapping[str, Any]) -> tuple[Row, ...]:
  """The rows of a table, none where there is no file."""
  try:
    with path.open(encoding='utf-8', newline='') as file:
      reader = csv.DictReader(file, strict=True)
      names = reader.fieldnames or []
      if names and not _is_complete(path):
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
  except FileNotFoundError:
    return ()
  except (csv.Error, UnicodeDecodeError) as e:
    raise errors.StorageError(f'{path} is damaged ({e}).') from e


def _is_complete(path: Path) -> bool:
  """Whether a table ends as all do that are written to the end."""
  with path.open('rb') as file:
    file.seek(-1, os.SEEK_END)
    return file.read() == b'\n'


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
  _numbers(text)
  return text


def _status(text: str) -> str:
  if text not in _STATUSES:
    raise ValueError(f'one of {", ".join(_STATUSES)}')
  return text


_STATUSES = (_results.FINISHED, _results.DIVERGED, MISSING)
_text: Callable[[str], str] = str
_IDENTITY = {'condition': _name, 'ruleset': _name, 'arm': _name}
# What is left to `results.accuracies` and `results.times` stays text.
_RESULTS = {
  **_IDENTITY,
  **dict.fromkeys(('seed', 'validation_accuracy', 'test_accuracy'), _text),
  **dict.fromkeys(('steps_to_target', 'seconds_to_target'), _text),
  'hyperparameters': _text_of_numbers,
  'status': _status,
}
_TRIALS = {
  'condition': _name,
  'arm': _name,
  'trial': _whole,
  'hyperparameters': _numbers,
  'seed': _whole,
  'validation_accuracy': _fraction,
  'status': _name,
}
_COMPARISONS = {
  **dict.fromkeys(comparisons.COLUMNS, _number),
  **_IDENTITY,
  'reference': _name,
  'n': _whole,
}
_CURVES = {
  **_IDENTITY,
  **dict.fromkeys(('epoch', 'n'), _whole),
  'steps': _number,
  'mean': _fraction,
  **dict.fromkeys(('ci_low', 'ci_high'), _finite),
}
_ALPHA = {
  **_IDENTITY,
  'epoch': _whole,
  'leaf': _name,
  'elements': _number,
  **dict.fromkeys(('alpha_mean', 'alpha_std'), _number),
  'alpha_fraction_near_min': _fraction,
  'alpha_fraction_near_max': _fraction,
  **dict.fromkeys(('gradient_norm', 'update_norm'), _number),
}
