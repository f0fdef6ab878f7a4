"""The tables of a study as data frames: their columns, read and written.

A table is `NAME.csv`, or `NAME.csv.gz` in a published study. A column that a
table lacks, because the study is older than the column, is read as empty; a
column that nobody knows is kept as text.
"""

from collections.abc import Iterable, Mapping
import math
from pathlib import Path
from typing import Any
import zlib

import pandas as pd

from experiments import errors
from experiments import files

FINISHED, DIVERGED, MISSING = 'finished', 'diverged', 'missing'

# What a column holds. In memory all but texts and integers are float64, NaN
# where a cell is empty; as text a whole number has no point (∞ is `inf`), and
# a short one six digits, which no picture tells from more.
_TEXT, _INTEGER, _WHOLE, _FLOAT, _SHORT = range(5)
_IDENTITY = {'condition': _TEXT, 'ruleset': _TEXT, 'arm': _TEXT}
_SPREAD = {'n': _INTEGER, 'mean': _SHORT, 'sd': _SHORT}

TABLES: Mapping[str, Mapping[str, int]] = {
  'trials': {
    'condition': _TEXT,
    'arm': _TEXT,
    'trial': _INTEGER,
    'hyperparameters': _TEXT,
    'seed': _INTEGER,
    'validation_accuracy': _FLOAT,
    'status': _TEXT,
  },
  'results': {
    **_IDENTITY,
    'seed': _INTEGER,
    'hyperparameters': _TEXT,
    'validation_accuracy': _FLOAT,
    'test_accuracy': _FLOAT,
    'steps_to_target': _WHOLE,
    'seconds_to_target': _FLOAT,
    'status': _TEXT,
  },
  'comparisons': {
    **_IDENTITY,
    'reference': _TEXT,
    'n': _INTEGER,
    'mean_difference': _FLOAT,
    'ci_low': _FLOAT,
    'ci_high': _FLOAT,
    'p': _FLOAT,
    'p_holm': _FLOAT,
    'effect_size': _FLOAT,
    'seeds_needed': _WHOLE,
  },
  'curves': {
    **_IDENTITY,
    'epoch': _INTEGER,
    'steps': _INTEGER,
    'n': _INTEGER,
    'mean': _SHORT,
    'ci_low': _SHORT,
    'ci_high': _SHORT,
  },
  'alpha': {
    **_IDENTITY,
    'epoch': _INTEGER,
    'leaf': _TEXT,
    'elements': _INTEGER,
    'alpha_mean': _SHORT,
    'alpha_std': _SHORT,
    'alpha_fraction_near_min': _SHORT,
    'alpha_fraction_near_max': _SHORT,
    'gradient_norm': _SHORT,
    'update_norm': _SHORT,
  },
  # Of streams: each measure of every seed, each measure by task, evaluations.
  'streams': {
    **_IDENTITY,
    'seed': _INTEGER,
    'measure': _TEXT,
    'value': _SHORT,
    'status': _TEXT,
  },
  'measures': {**_IDENTITY, 'task': _INTEGER, 'measure': _TEXT, **_SPREAD},
  'evaluations': {
    **_IDENTITY,
    'task': _INTEGER,
    'update': _INTEGER,
    'evaluated_task': _INTEGER,
    **_SPREAD,
  },
}


def make(name: str, parts: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
  """A table of parts, one below the other.

  Args:
    name: of the table, one of `TABLES`.
    parts: of each, by column, a value for all its rows or one for each row.
      Columns of numbers that are not integers may be left out.
  """
  found = [frame for part in parts if len(frame := pd.DataFrame(part))]
  columns = TABLES[name]
  if not found:
    found = [pd.DataFrame(columns=[*columns])]
  return _typed(pd.concat(found, ignore_index=True), columns)


def read(folder: Path, name: str) -> pd.DataFrame:
  """Reads a table.

  Args:
    folder: where it lies.
    name: of the table, one of `TABLES`.

  Returns:
    The table; without rows where there is no file.

  Raises:
    StorageError: it cannot be read.
  """
  columns = TABLES[name]
  path = folder / f'{name}.csv'
  if not path.exists():
    path = path.with_name(f'{name}.csv.gz')
  if not path.exists():
    return make(name, ())
  try:
    # As texts: Python reads numbers to the last digit, and no arm is missing
    # because it is called `none`.
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(found.index, pd.RangeIndex):
      raise ValueError('a row has more values than there are columns')
    for name_, kind in columns.items():
      if kind != _TEXT and name_ in found:
        number = int if kind == _INTEGER else lambda x: float(x or 'nan')
        found[name_] = found[name_].map(number)
    return _typed(found, columns)
  except (OSError, EOFError, ValueError, OverflowError, zlib.error) as e:
    raise errors.StorageError(f'cannot read {path}: {e}') from e


def write(folder: Path, name: str, frame: pd.DataFrame) -> None:
  """Writes a table; a reader, or a crash, sees all of it or nothing."""
  columns = TABLES[name]
  text = pd.DataFrame(
    {x: _as_text(frame[x], kind) for x, kind in columns.items()}
  )
  files.write_text(
    folder / f'{name}.csv', text.to_csv(index=False, lineterminator='\n')
  )


def _typed(frame: pd.DataFrame, columns: Mapping[str, int]) -> pd.DataFrame:
  """The frame with all columns, each of its dtype, the unknown ones last."""
  if absent := [
    x for x, kind in columns.items() if kind == _INTEGER and x not in frame
  ]:
    raise ValueError(f'it has no column {absent[0]!r}')
  others = [x for x in frame.columns if x not in columns]
  frame = frame.reindex(columns=[*columns, *others])
  texts = [x for x, kind in columns.items() if kind == _TEXT]
  frame[texts] = frame[texts].astype(object).fillna('')
  return frame.astype({x: _dtype(kind) for x, kind in columns.items()})


def _dtype(kind: int) -> Any:
  return {_TEXT: str, _INTEGER: 'int64'}.get(kind, 'float64')


def _as_text(values: pd.Series, kind: int) -> pd.Series:
  if kind == _WHOLE:
    whole = lambda x: str(int(x)) if math.isfinite(x) else str(x)
    return values.astype(object).map(whole, na_action='ignore')
  if kind == _SHORT:
    return values.map(lambda x: f'{x:.6g}' if math.isfinite(x) else '')
  return values
