"""What the rows of `results.csv` say, checked."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
import math
from typing import Any

from experiments import errors

FINISHED, DIVERGED = 'finished', 'diverged'

# By seed.
Values = dict[int, float]
# By condition and ruleset, then by arm.
Groups = dict[tuple[str, str], dict[str, Values]]

_IDENTITY = ('condition', 'ruleset', 'arm', 'seed')


def accuracies(
  rows: Iterable[Mapping[str, Any]],
  chance: float,
  column: str = 'test_accuracy',
) -> Groups:
  """The accuracy that counts for every seed.

  Args:
    rows: those of `results.csv`, in any order, as numbers or as text.
    chance: the accuracy of guessing, a fraction. It is what a diverged seed
      counts as, whatever was measured of it.
    column: `test_accuracy` or `validation_accuracy`.

  Returns:
    By condition and ruleset, by arm, by seed: the accuracy, a fraction.
    A seed that is neither finished nor diverged is left out; an arm that has
    no seed yet is there, and empty.

  Raises:
    StorageError: a row lacks something, stands there twice, or says what
      cannot be.
  """
  return _collect(rows, lambda row: _accuracy(row, chance, column))


def times(rows: Iterable[Mapping[str, Any]], column: str) -> Groups:
  """The time to the target of every seed.

  Args:
    rows: those of `results.csv`, in any order, as numbers or as text.
    column: `steps_to_target` or `seconds_to_target`.

  Returns:
    As `accuracies` does. A seed that missed the target has ∞, and so has one
    that diverged; NaN stands where there was no target.

  Raises:
    StorageError: as `accuracies` does.
  """
  return _collect(rows, lambda row: _time(row, column))


def _collect(
  rows: Iterable[Mapping[str, Any]],
  value: Callable[[Mapping[str, Any]], float],
) -> Groups:
  groups: Groups = defaultdict(lambda: defaultdict(dict))
  for row in rows:
    _check(row)
    seeds = groups[row['condition'], row['ruleset']][row['arm']]
    if row['status'] not in (FINISHED, DIVERGED):
      continue
    seed = _seed(row)
    if seed in seeds:
      raise _error(row, 'stands there twice')
    seeds[seed] = value(row)
  return {key: dict(arms) for key, arms in groups.items()}


def _check(row: Mapping[str, Any]) -> None:
  for name in (*_IDENTITY, 'status'):
    if row.get(name) in (None, ''):
      raise errors.StorageError(
        f'a row of the results has no {name}: {dict(row)}.'
      )


def _seed(row: Mapping[str, Any]) -> int:
  try:
    return int(row['seed'])
  except (TypeError, ValueError):
    raise _error(row, 'has a seed that is not a whole number') from None


def _accuracy(row: Mapping[str, Any], chance: float, column: str) -> float:
  if row['status'] == DIVERGED:
    return chance
  found = _number(row, column)
  if not 0 <= found <= 1:
    raise _error(
      row,
      f'has the {column} {row.get(column)!r}, which must be a fraction from 0 '
      'to 1',
    )
  return found


def _time(row: Mapping[str, Any], column: str) -> float:
  if row['status'] == DIVERGED:
    return math.inf
  found = _number(row, column)
  if found <= 0:
    raise _error(row, f'has the {column} {row[column]!r}, which must be > 0')
  return found


def _number(row: Mapping[str, Any], column: str) -> float:
  """A number, NaN where there is none."""
  value = row.get(column)
  if value is None or value == '':
    return math.nan
  try:
    return float(value)
  except (TypeError, ValueError):
    raise _error(
      row, f'has the {column} {value!r}, which is not a number'
    ) from None


def _error(row: Mapping[str, Any], what: str) -> errors.StorageError:
  name = ', '.join(f'{key} {row[key]}' for key in _IDENTITY)
  return errors.StorageError(f'the row of the results of {name} {what}.')
