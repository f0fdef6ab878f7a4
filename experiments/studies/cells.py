"""Cells: the work of one compiled program, stored under a hash of what it is.

A cell is one arm's trials on one task, each with all seeds. Its folder is named
by the SHA-256 of all that defines its outcome, the version of the code among
it: whatever changes gives another name, so that results are never mixed. It
appears by a rename once it is complete, with checksums; a process killed at any
moment leaves no half of it.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments import errors
from experiments import files
from experiments import optimizers
from experiments.studies import versions
from experiments.studies.declarations import Task
from experiments.studies.tuner import Trial

_CELL, _OUTCOME = 'cell.json', 'outcome.json'


@dataclasses.dataclass(frozen=True)
class Cell:
  """All trials of an arm on a task that are computed at once.

  Attributes:
    task: what is learned.
    arm: the optimizer.
    trials: all of the same hyperparameters.
    seeds: each trial is trained with each of them.
    tests: whether the test set is read, after the last epoch.
  """

  task: Task
  arm: str
  trials: tuple[Trial, ...]
  seeds: tuple[int, ...]
  tests: bool

  @property
  def size(self) -> int:
    """The number of trainings."""
    return len(self.trials) * len(self.seeds)

  @functools.cached_property
  def definition(self) -> dict[str, Any]:
    """All that its outcome depends on, JSON-able."""
    task = dataclasses.asdict(self.task)
    if (
      optimizers.PLASTICITY_SCALE
      not in optimizers.ARMS[self.arm].hyperparameters
    ):
      del task['warmup_epochs']  # The arm has no κ to warm up.
    return {
      'task': task,
      'arm': self.arm,
      'trials': [dict(trial) for trial in self.trials],
      'seeds': list(self.seeds),
      'tests': self.tests,
      'code': versions.code(),
    }

  @functools.cached_property
  def digest(self) -> str:
    """The name of its folder."""
    # Hardware and threads are left out, though they change how sums round, and
    # a training with a high rate amplifies that (a trial of the digits ended a
    # point away with --jobs=2). `study.json` says what a study ran on.
    text = json.dumps(self.definition, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The results of a cell. Trainings are ordered by trial, then by seed.

  Values that are not finite are None.

  Attributes:
    curves: by name, a value for each training and epoch. `validation_loss` and
      `validation_accuracy` are of the part that was held out, if any was.
    test_accuracy: of each training, if the test set was read.
    diverged: whether a loss of the training was ever not finite.
    steps_per_epoch: updates an epoch.
    seconds: the time that the cell took, compilation included.
    alpha: α at the last update of each epoch, as `Diagnostics.summary` gives
      it; None if the arm has no α, or if the test set was not read.
    measures: of a stream, by name, a value for each training and task.
    evaluations: of a split, of each training, as `History.evaluations`; None
      if the test set was not read.
  """

  curves: dict[str, list[list[float | None]]]
  test_accuracy: list[float] | None
  diverged: list[bool]
  steps_per_epoch: int
  seconds: float
  alpha: dict[str, Any] | None = None
  measures: dict[str, list[list[float | None]]] | None = None
  evaluations: list[Any] | None = None

  def scores(self, seeds: int) -> np.ndarray:
    """The last validation accuracies, [trials, seeds]; -∞ if diverged."""
    last = [each[-1] for each in self.curves['validation_accuracy']]
    scores = np.where(self.diverged, -np.inf, np.array(last, float))
    return scores.reshape(-1, seeds)


class Store:
  """The cells of a study, in a folder.

  Args:
    folder: the folder; it need not exist.
    others: folders of other studies, whose cells are copied.

  Attributes:
    givers: those of the others from which cells were copied.
  """

  def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
    self._folder, self._others = folder, tuple(others)
    self.givers: list[Path] = []
    self._read: dict[str, Outcome] = {}

  def get(self, cell: Cell) -> Outcome | None:
    """The outcome of a cell; None if it is not there, or damaged."""
    digest = cell.digest
    if digest not in self._read:
      for folder in (self._folder, *self._others):
        found = _outcome(folder / digest)
        if found is not None:
          if folder != self._folder:
            self._put(cell, found)
            if folder not in self.givers:
              self.givers.append(folder)
          self._read[digest] = found
          break
    return self._read.get(digest)

  def stale(self) -> int:
    """The number of cells of other versions of the code."""
    found = 0
    for path in self._folder.glob(f'*/{_CELL}'):
      with contextlib.suppress(errors.StorageError):
        found += files.read_json(path).get('code') != versions.code()
    return found

  @contextlib.contextmanager
  def claimed(self, cell: Cell) -> Iterator[bool]:
    """Claims a cell; yields whether no other process has claimed it.

    Without locks a cell may be computed twice, but the first outcome stays.
    """
    with files.writing(self._folder):
      self._folder.mkdir(exist_ok=True)
    path = self._folder / f'.{cell.digest}.lock'
    with files.locked(path, wait=False) as ours:
      try:
        yield ours
      finally:
        if ours:
          path.unlink(missing_ok=True)

  def put(self, cell: Cell, outcome: Outcome) -> None:
    """Stores the outcome of a cell that is claimed."""
    self._put(cell, outcome)
    self._read[cell.digest] = outcome

  def _put(self, cell: Cell, outcome: Outcome) -> None:
    path = self._folder / cell.digest
    if _outcome(path) is not None:
      return  # Another process was first.
    with files.writing(path):
      self._folder.mkdir(exist_ok=True)
      files.remove(path)  # It is damaged.
      files.remove(files.temporary_of(path))  # A killed process left it.
    with files.replacing(path) as temporary:
      temporary.mkdir()
      files.write_json(temporary / _CELL, cell.definition)
      files.write_json(temporary / _OUTCOME, dataclasses.asdict(outcome))


def _outcome(path: Path) -> Outcome | None:
  """The outcome in the folder of a cell; None if none can be read."""
  try:
    return Outcome(**files.read_json(path / _OUTCOME))
  except (errors.StorageError, TypeError):
    return None
