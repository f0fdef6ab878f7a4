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
import errno
import fcntl
import functools
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

import numpy as np

from experiments import checksums
from experiments import files
from experiments import optimizers
from experiments import parsing
from experiments.studies import versions
from experiments.studies.declarations import Task
from experiments.studies.tuner import Numbers

_CELL, _OUTCOME = 'cell.json', 'outcome.json'
# What file systems without locks say.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}


@dataclasses.dataclass(frozen=True)
class Cell:
  """What is computed at once.

  Attributes:
    task: what is learned.
    arm: by which optimizer.
    trials: the numbers of each trial, all of the same names.
    seeds: every trial is trained with each of them.
    tests: whether the test set is read, after the last epoch.
  """

  task: Task
  arm: str
  trials: tuple[Numbers, ...]
  seeds: tuple[int, ...]
  tests: bool

  @property
  def size(self) -> int:
    """How many trainings it is."""
    return len(self.trials) * len(self.seeds)

  @functools.cached_property
  def definition(self) -> dict[str, Any]:
    """All that its outcome depends on, JSON-able."""
    task = dataclasses.asdict(self.task)
    if optimizers.PLASTICITY_SCALE not in optimizers.ARMS[self.arm].knobs:
      del task['warmup_epochs']  # Of κ, which the arm does not have.
    return {
      'task': task,
      'arm': self.arm,
      'trials': [dict(numbers) for numbers in self.trials],
      'seeds': list(self.seeds),
      'tests': self.tests,
      'code': versions.code(),
    }

  @functools.cached_property
  def digest(self) -> str:
    """The name of its folder."""
    text = json.dumps(self.definition, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of a cell. Trainings are ordered by trial, then by seed.

  Attributes:
    curves: by name, a value for each training and epoch; None where it is not
      finite. Of a part that was held out: `validation_loss`,
      `validation_accuracy`; they are left out if nothing was.
    test_accuracy: of each training, if the test set was read.
    diverged: whether a loss of the training was ever not finite.
    steps_per_epoch: updates an epoch.
    epoch_seconds: of one training, what each epoch took to train.
    seconds: what the cell took, compilation included.
    alpha: what α did at the last update of each epoch, as `Diagnostics.summary`
      gives it; None if the arm has none, or if the test set was not read.
    measures: of a stream, by name, a value for each training and task; None
      where it is not finite.
    evaluations: of a split, of each training, as `History.evaluations`; None
      if the test set was not read.
  """

  curves: dict[str, list[list[float | None]]]
  test_accuracy: list[float] | None
  diverged: list[bool]
  steps_per_epoch: int
  epoch_seconds: list[float]
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
    folder: where they are; it need not be there.
    others: folders of other studies, whose cells are taken over.

  Attributes:
    givers: those of the others of which cells were taken over.
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
        found = _outcome(folder / digest, cell)
        if found is not None:
          if folder != self._folder:
            self._put(cell, found)
            if folder not in self.givers:
              self.givers.append(folder)
          self._read[digest] = found
          break
    return self._read.get(digest)

  def stale(self) -> int:
    """How many cells there are of other versions of the code."""
    found = 0
    for path in self._folder.glob(f'*/{_CELL}'):
      with contextlib.suppress(OSError, ValueError):
        definition = parsing.read(path)
        if isinstance(definition, dict):
          found += definition.get('code') != versions.code()
    return found

  @contextlib.contextmanager
  def claimed(self, cell: Cell) -> Iterator[bool]:
    """Claims a cell, unless another process has claimed it.

    Args:
      cell: the cell.

    Yields:
      Whether it is ours to compute. The kernel lets go of the claim when the
      process dies, however it dies. On file systems without locks everything
      is ours: a cell may then be computed twice, but the first one stays.
    """
    with files.writing(self._folder):
      self._folder.mkdir(exist_ok=True)
      path = self._folder / f'.{cell.digest}.lock'
      file = path.open('a')
    with file:
      ours = True
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        ours = False
      except OSError as e:
        if e.errno not in _NO_LOCKS:
          raise
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
    temporary = files.temporary_of(path)
    with files.writing(path):
      self._folder.mkdir(exist_ok=True)
      shutil.rmtree(temporary, ignore_errors=True)
      temporary.mkdir()
      files.write_json(temporary / _CELL, cell.definition)
      files.write_json(temporary / _OUTCOME, dataclasses.asdict(outcome))
      checksums.write(temporary)
      if path.exists() and checksums.fault(path):
        shutil.rmtree(path)
      try:
        temporary.rename(path)
      except OSError as e:
        # Another process was first.
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
          raise
        shutil.rmtree(temporary, ignore_errors=True)
      _sync(self._folder)


def _outcome(path: Path, cell: Cell) -> Outcome | None:
  """The outcome in a folder, if it is whole and one of that cell."""
  if not path.is_dir() or checksums.fault(path):
    return None
  # The checksums of what others made may be right, too.
  try:
    found = Outcome(**parsing.read(path / _OUTCOME))
    return found if _fits(found, cell) else None
  except (OSError, TypeError, ValueError, AttributeError, OverflowError):
    return None


def _fits(outcome: Outcome, cell: Cell) -> bool:
  """Whether an outcome can be that of a cell; or it raises an error."""
  size, curves = cell.size, {'train_loss'}
  if not cell.tests or (cell.task.held_out and not cell.task.stream):
    curves.add('validation_accuracy')
  series = [*outcome.curves.values(), *(outcome.measures or {}).values()]
  shapes = [np.asarray(each, float).shape for each in series]
  numbers = [outcome.test_accuracy or [0.0] * size, outcome.epoch_seconds]
  first, _ = [np.asarray(each, float).shape for each in numbers]
  return (
    curves <= outcome.curves.keys()
    and all(len(shape) == 2 and shape[0] == size for shape in shapes)
    and first == (size,)
    and len(outcome.diverged) == size
    and all(isinstance(each, bool) for each in outcome.diverged)
    and isinstance(outcome.steps_per_epoch, int)
    and float(outcome.seconds) >= 0
    and isinstance(outcome.alpha, dict | None)
  )


def _sync(folder: Path) -> None:
  """Has the disk know what was renamed in a folder."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
