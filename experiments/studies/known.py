"""Results of which only the tables are left, as of studies that are published.

They are told by all that a cell is told by, but for the version of the code,
which is of their time: whoever names their directory answers for that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import files
from experiments import optimizers
from experiments.studies import frames
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.studies.declarations import Task
from experiments.studies.scores import IDENTITY

_MEASURED = (frames.FINISHED, frames.DIVERGED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Outcome):
  """What tables hold of a cell.

  Of trials, what the tuner and the tables ask for: their last accuracy, and
  whether they diverged. Of a reported cell, its rows.

  Attributes:
    folder: where the tables lie.
    rows: of a reported cell, by the name of the table.
  """

  curves: dict[str, Any] = dataclasses.field(default_factory=dict)
  test_accuracy: None = None
  diverged: list[bool] = dataclasses.field(default_factory=list)
  steps_per_epoch: int = 0
  seconds: float = 0.0
  folder: Path
  rows: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)


class Tables:
  """The tables of a study directory without cells.

  Raises:
    StorageError: they cannot be read.
  """

  def __init__(self, folder: Path) -> None:
    self._folder = folder
    definition = files.read_json(folder / 'study.json')['definition']
    tuning = definition.get('tuning') or {'tasks': {}}
    found = {name: frames.read(folder, name) for name in frames.TABLES}
    # By the trial, its row; by all trainings of an arm, what names their rows.
    self._trials = {}
    for row in _with_tasks(found.pop('trials'), tuning['tasks']):
      self._trials[_key(row), row['seed']] = row
    self._finals: dict[Any, Any] = {}
    tasks = {k: x['task'] for k, x in definition['conditions'].items()}
    rows = pd.DataFrame(
      _with_tasks(found['results'], tasks), columns=[*found['results'], 'task']
    )
    for identity, own in rows.groupby([*IDENTITY, 'hyperparameters']):
      if own['status'].isin(_MEASURED).all():
        key = _key(own.iloc[0]), tuple(own['seed'])
        self._finals.setdefault(key, identity[:-1])
    # Times are until a target that other studies do not share.
    found['results'][['steps_to_target', 'seconds_to_target']] = float('nan')
    del found['comparisons']
    self._rows = {
      name: dict(iter(table.groupby(IDENTITY))) for name, table in found.items()
    }
    self._empty = {name: table[:0] for name, table in found.items()}

  def find(self, cell: Cell) -> Known | None:
    """What they hold of a cell; None if that is not all of it."""
    keys = [_key_of(cell, trial) for trial in cell.trials]
    if not cell.tests:
      trainings = [(key, seed) for key in keys for seed in cell.seeds]
      if not self._trials.keys() >= {*trainings}:
        return None
      rows = [self._trials[each] for each in trainings]
      last = [[row['validation_accuracy']] for row in rows]
      return Known(
        curves={'validation_accuracy': last},
        diverged=[row['status'] == frames.DIVERGED for row in rows],
        folder=self._folder,
      )
    # A restart is what others are compared with task by task and seed by seed.
    identity = self._finals.get((keys[0], cell.seeds))
    if identity is None or cell.task.restart:
      return None
    return Known(
      folder=self._folder,
      rows={
        name: rows.get(identity, self._empty[name])
        for name, rows in self._rows.items()
      },
    )


def find(others: Iterable[Tables], cell: Cell) -> Known | None:
  """What the first of some studies that knows a cell holds of it."""
  return next(filter(None, (each.find(cell) for each in others)), None)


# Makes the rows of a table, of results that were computed.
Make = Callable[[Sequence[Any]], Iterator[Any]]


def table(name: str, finals: Sequence[Any], make: Make) -> pd.DataFrame:
  """The table of all results, in their order."""
  parts: list[Any] = []
  for final in finals:
    if isinstance(final.outcome, Known):
      parts.append(final.outcome.rows[name].assign(**final.identity))
    else:
      parts += make([final])
  return frames.make(name, parts)


def _with_tasks(
  table: pd.DataFrame, tasks: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """The rows that say how they were trained, with their task."""
  known = {}
  for name, task in tasks.items():
    # Tasks of its time may have had what there is no more.
    with contextlib.suppress(TypeError):
      known[name] = Task(**task)
  return [
    {**row, 'task': known[row['condition']]}
    for row in table.to_dict('records')
    if row['condition'] in known and row['hyperparameters']
  ]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
  values = json.loads(row['hyperparameters'])
  return row['task'], row['arm'], frozenset(values.items())


def _key_of(cell: Cell, trial: Mapping[str, float]) -> tuple[Any, ...]:
  values = optimizers.ARMS[cell.arm].values(trial)
  return cell.task, cell.arm, frozenset(values.items())
