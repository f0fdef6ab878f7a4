"""Loads a study directory, without its cells, as data frames."""

from collections.abc import Mapping
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments import errors
from experiments import files
from experiments.data import streams
from experiments.studies import directory
from experiments.studies import frames
from experiments.studies import scores

STUDY = directory.FILE


class Condition(NamedTuple):
  """A condition of a study, with the definition of its task.

  `chance` is the accuracy of guessing, a fraction, and `target` the validation
  accuracy that arms are timed to; None for none.
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
    """The number of tasks of the stream; 0 without one."""
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
  """A study: `study.json` and its tables; `frames.TABLES` has their columns.

  A table for which there is no file has no rows.

  Attributes:
    study: what `study.json` says.
    conditions: those that have results, by name, in the order of the
      definition.
    results: a row for each condition, ruleset, arm and seed, in the order of
      the conditions. Besides the columns of the file it has `accuracy`, the
      test accuracy that counts: chance if the seed diverged, NaN while it is
      missing.
  """

  study: Mapping[str, Any]
  conditions: Mapping[str, Condition]
  results: pd.DataFrame
  trials: pd.DataFrame
  comparisons: pd.DataFrame
  curves: pd.DataFrame
  alpha: pd.DataFrame
  streams: pd.DataFrame
  measures: pd.DataFrame
  evaluations: pd.DataFrame

  @property
  def name(self) -> str:
    """The name of the study."""
    return self.study['definition']['study']

  @property
  def arms(self) -> tuple[str, ...]:
    """All arms of the study, those that are only tuned, too."""
    return tuple(self.study['arms'])

  @functools.cached_property
  def finals(self) -> pd.DataFrame:
    """The results that are there; see `scores.finals`."""
    return scores.finals(self.results)

  @functools.cached_property
  def summary(self) -> pd.DataFrame:
    """A row for each condition, ruleset and arm; see `scores.summary`."""
    timed = [x.name for x in self.conditions.values() if x.target is not None]
    return scores.summary(self.results, timed)


def load(path: Path) -> Published:
  """Loads a study directory.

  Raises:
    StorageError: it is no study directory, has no results yet, or a file of it
      cannot be read or is of another study.
  """
  study = directory.load(path)
  tables = {name: frames.read(path, name) for name in frames.TABLES}
  if tables['results'].empty:
    raise errors.StorageError(
      f'{path / "results.csv"} is not there or empty: the study has no results '
      'to report yet.'
    )
  conditions = _conditions(path, study, tables['results'])
  tables['results'] = scores.with_accuracy(
    tables['results'], {x.name: x.chance for x in conditions.values()}
  )
  _check(path, study, tables)
  return Published(study, conditions, **tables)


def _conditions(
  path: Path, study: Mapping[str, Any], results: pd.DataFrame
) -> dict[str, Condition]:
  """The conditions that have results, in the order of the definition."""
  there = {*results['condition']}
  known = study.get('conditions') or {}
  with files.reading(path / STUDY):
    return {
      name: Condition(
        name,
        dict(defined['task']),
        float(known[name]['chance']),
        known[name]['target'] and float(known[name]['target']),
      )
      for name, defined in study['definition']['conditions'].items()
      if name in there
    }


def _check(
  path: Path, study: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
  """Refuses tables that do not belong together."""
  known = pd.MultiIndex.from_frame(tables['results'][scores.IDENTITY])
  for name, table in tables.items():
    if name == 'trials':
      ours = table['arm'].isin(study['arms'])
    elif name == 'results':
      ours = table['condition'].isin(study['definition']['conditions'])
      ours &= ~table.duplicated([*scores.IDENTITY, 'seed'])
    else:
      ours = pd.MultiIndex.from_frame(table[scores.IDENTITY]).isin(known)
    if not ours.all():
      row = ', '.join(map(str, table.loc[~ours].iloc[0, :3]))
      raise errors.StorageError(
        f'cannot read {path / name}.csv: a row ({row}) is of another study, or '
        'stands there twice.'
      )
