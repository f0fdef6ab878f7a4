"""Reads the tables of a study back, without its cells, and checks them."""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

from experiments import errors
from experiments.data import streams
from experiments.studies import columns
from experiments.studies import directory
from experiments.studies import results as _results

TRIALS, RESULTS, COMPARISONS = 'trials.csv', 'results.csv', 'comparisons.csv'
CURVES, ALPHA = 'curves.csv', 'alpha.csv'
STREAMS, MEASURES = 'streams.csv', 'measures.csv'
EVALUATIONS = 'evaluations.csv'
STUDY = directory.FILE

Row = Mapping[str, Any]
# The condition and the ruleset under which arms are compared.
Group = tuple[str, str]
_GROUP = ('condition', 'ruleset')


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

  @property
  def stream(self) -> str:
    """The name of the stream that is learned; '' for ordinary training."""
    return self.task.get('stream') or ''

  @property
  def tasks(self) -> int:
    """How many tasks the stream has; 0 without one."""
    return self.task.get('tasks', 0) if self.stream else 0

  @property
  def splits(self) -> bool:
    """Whether each task of the stream has classes that no other has."""
    return is_split(self.task)


def is_split(task: Mapping[str, Any]) -> bool:
  """Whether the definition of a task is a stream that splits the classes."""
  stream = streams.STREAMS.get(task.get('stream') or '')
  return stream is not None and stream.splits


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
    streams: those of `streams.csv`; there is one for each seed and measure.
    measures: those of `measures.csv`, of each task.
    evaluations: those of `evaluations.csv`.
  """

  study: Mapping[str, Any]
  conditions: Mapping[str, Condition]
  results: tuple[Row, ...]
  trials: tuple[Row, ...] = ()
  comparisons: tuple[Row, ...] = ()
  curves: tuple[Row, ...] = ()
  alpha: tuple[Row, ...] = ()
  streams: tuple[Row, ...] = ()
  measures: tuple[Row, ...] = ()
  evaluations: tuple[Row, ...] = ()

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
  rows = columns.table(path / RESULTS, columns.RESULTS)
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
    trials=columns.table(path / TRIALS, columns.TRIALS),
    comparisons=columns.table(path / COMPARISONS, columns.COMPARISONS),
    curves=columns.table(path / CURVES, columns.CURVES),
    alpha=columns.table(path / ALPHA, columns.ALPHA),
    streams=columns.table(path / STREAMS, columns.STREAMS),
    measures=columns.table(path / MEASURES, columns.MEASURES),
    evaluations=columns.table(path / EVALUATIONS, columns.EVALUATIONS),
  )
  _check(path, found)
  return found


def _study(path: Path) -> Mapping[str, Any]:
  if not path.is_dir():
    raise errors.StorageError(f'{path} is not a directory.')
  study = directory.read(path)
  if study is None:
    raise errors.StorageError(
      f'{path} is no study directory: it has no whole {STUDY} that '
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
    (STREAMS, found.streams),
    (MEASURES, found.measures),
    (EVALUATIONS, found.evaluations),
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
  _check_streams(path, found)


def _check_streams(path: Path, found: Published) -> None:
  """Refuses rows of tasks that the study has not, and rows that come twice."""
  for name, rows, keys in (
    (STREAMS, found.streams, ('seed', 'measure')),
    (MEASURES, found.measures, ('task', 'measure')),
    (EVALUATIONS, found.evaluations, ('task', 'update', 'evaluated_task')),
  ):
    there = set()
    for row in rows:
      condition = found.conditions[row['condition']]
      for key in ('task', 'evaluated_task'):
        if row.get(key, 0) > condition.tasks:
          raise errors.StorageError(
            f'{path / name} has the {key} {row[key]} under {condition.name!r}, '
            f'which has {condition.tasks} tasks: it is of another study.'
          )
      each = tuple(row[x] for x in (*_GROUP, 'arm', *keys))
      if each in there:
        what = ', '.join(str(x) for x in each)
        raise errors.StorageError(
          f'{path / name} is damaged: the row of {what} stands there twice.'
        )
      there.add(each)
