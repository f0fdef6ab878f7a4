"""The tables of a study as data frames: their columns, read and written.

A table is `NAME.csv`, or `NAME.csv.gz` in a published study. A column that a
table lacks, because the study is older than the column, is read as empty; a
column that nobody knows is kept as text.
"""

from collections.abc import Iterable, Mapping
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import files

FINISHED, DIVERGED, MISSING = 'finished', 'diverged', 'missing'

_IDENTITY = ('condition', 'ruleset', 'arm')
_SPREAD = ('n', 'mean', 'sd')
TABLES: Mapping[str, tuple[str, ...]] = {
  'trials': (
    *('condition', 'arm', 'trial', 'hyperparameters', 'seed'),
    *('validation_accuracy', 'status'),
  ),
  'results': (
    *(*_IDENTITY, 'seed', 'hyperparameters', 'validation_accuracy'),
    *('test_accuracy', 'steps_to_target', 'seconds_to_target', 'status'),
  ),
  'comparisons': (
    *(*_IDENTITY, 'reference', 'n', 'mean_difference', 'ci_low', 'ci_high'),
    *('p', 'p_holm', 'effect_size', 'seeds_needed'),
  ),
  'curves': (*_IDENTITY, 'epoch', 'steps', 'n', 'mean', 'ci_low', 'ci_high'),
  'alpha': (
    *(*_IDENTITY, 'epoch', 'leaf', 'elements', 'alpha_mean', 'alpha_std'),
    *('alpha_fraction_near_min', 'alpha_fraction_near_max'),
    *('gradient_norm', 'update_norm'),
  ),
  # Streams: each measure of every seed, each measure by task, evaluations.
  'streams': (*_IDENTITY, 'seed', 'measure', 'value', 'status'),
  'measures': (*_IDENTITY, 'task', 'measure', *_SPREAD),
  'evaluations': (*_IDENTITY, 'task', 'update', 'evaluated_task', *_SPREAD),
}
# All other columns are float64, NaN where a cell is empty.
_TEXTS = {
  *(*_IDENTITY, 'hyperparameters', 'leaf', 'measure', 'reference', 'status'),
}
_INTEGERS = {
  *('elements', 'epoch', 'evaluated_task', 'n', 'seed', 'steps', 'task'),
  *('trial', 'update'),
}
# Whole numbers or ∞, written without a point.
_WHOLE = {'seeds_needed', 'steps_to_target'}
# Written with six digits, which no picture tells from more.
_SHORT = {'curves', 'alpha', 'streams', 'measures', 'evaluations'}


def make(name: str, parts: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
  """A table of parts, one below the other.

  Args:
    name: of the table, one of `TABLES`.
    parts: of each, by column, a value for all its rows or one for each row.
      Columns of floats may be left out.
  """
  found = [frame for part in parts if len(frame := pd.DataFrame(part))]
  if not found:
    found = [pd.DataFrame(columns=[*TABLES[name]])]
  return _typed(name, pd.concat(found, ignore_index=True))


def read(folder: Path, name: str) -> pd.DataFrame:
  """Reads a table of `TABLES`; it has no rows where there is no file.

  Raises:
    StorageError: it cannot be read.
  """
  path = folder / f'{name}.csv'
  if not path.exists():
    path = folder / f'{name}.csv.gz'
  if not path.exists():
    return make(name, ())
  with files.reading(path):
    # As texts: Python reads numbers to the last digit, and no arm is missing
    # because it is called `none`.
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(found.index, pd.RangeIndex):
      raise ValueError('a row has more values than there are columns')
    for column in found.columns.intersection(TABLES[name]):
      if column in _INTEGERS:
        found[column] = found[column].map(int)
      elif column == 'hyperparameters':  # Empty while an arm is not tuned.
        found[column].map(lambda x: json.loads(x or '{}'))
      elif column not in _TEXTS:
        found[column] = found[column].map(lambda x: float(x or 'nan'))
    return _typed(name, found)


def write(folder: Path, name: str, frame: pd.DataFrame) -> None:
  """Writes a table; a reader, or a crash, sees all of it or nothing."""
  text = frame[[*TABLES[name]]].copy()
  for column in text.columns.difference(_TEXTS | _INTEGERS):
    if column in _WHOLE:
      whole = lambda x: str(int(x)) if math.isfinite(x) else str(x)
      values = text[column].astype(object)
      text[column] = values.map(whole, na_action='ignore')
    elif name in _SHORT:
      short = lambda x: f'{x:.6g}' if math.isfinite(x) else ''
      text[column] = text[column].map(short)
  files.write_text(
    folder / f'{name}.csv', text.to_csv(index=False, lineterminator='\n')
  )


def _typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
  """The frame with all columns, each of its dtype, the unknown ones last."""
  columns = TABLES[name]
  if absent := [x for x in columns if x in _INTEGERS and x not in frame]:
    raise ValueError(f'it has no column {absent[0]!r}')
  others = [x for x in frame.columns if x not in columns]
  frame = frame.reindex(columns=[*columns, *others])
  texts = [x for x in columns if x in _TEXTS]
  frame[texts] = frame[texts].astype(object).fillna('')
  dtypes = {x: 'int64' if x in _INTEGERS else 'float64' for x in columns}
  return frame.astype(dtypes | dict.fromkeys(texts, str))
