"""How long cells take: guessed from a measured step, then from cells."""

from collections.abc import Callable, Iterable

from experiments import data
from experiments.studies import computing
from experiments.studies.cells import Cell
from experiments.studies.declarations import Task
from experiments.studies.plan import Item
from experiments.training import wiring

# With an α it is among the arms whose updates take longest.
_MEASURED = 'full'
_SETTLED = 3

Load = Callable[[str], data.Dataset]


class _EnoughError(Exception):
  """The step is measured."""


class Estimate:
  """The seconds that cells take.

  Args:
    load: a data set by its name.
    jobs: how many cells are computed at once.
  """

  def __init__(self, load: Load, jobs: int) -> None:
    self._load, self._jobs = load, jobs
    # By data set, model and batch size: of an update, and of compiling.
    self._measured: dict[tuple[str, str, int], tuple[float, float]] = {}
    self._updates: dict[Task, int] = {}
    self._guessed = self._taken = 0.0

  def measure(self, task: Task) -> None:
    """Measures a step of a task, unless a task like it was measured."""
    key = (task.dataset, task.model, task.batch_size)
    if key in self._measured:
      return
    cell = Cell(task, _MEASURED, ({'learning_rate': 0.1},), (0,), tests=False)
    part = computing.training_part(cell, self._load(task.dataset))
    session = computing.make_session(cell, part)
    session.compile(computing.quick() if task.quick else None)
    calls = 0

    def pause() -> None:
      nonlocal calls
      calls += 1
      # The first call makes one update, the second as many as fill its time.
      if calls == _SETTLED:
        raise _EnoughError

    try:
      while True:
        session.train_epoch(pause)
    except _EnoughError:
      pass
    assert session.seconds_per_update is not None
    self._measured[key] = session.seconds_per_update, session.compile_seconds

  def seconds(self, items: Iterable[Item]) -> float:
    """How long so many cells are going to take."""
    guessed = sum(self._guess(item) for item in items) / self._jobs
    # Cells that were computed say how good the guess is.
    return guessed * (self._taken / self._guessed if self._guessed else 1.0)

  def took(self, item: Item, seconds: float) -> None:
    """Learns from a cell that was computed."""
    self._guessed += self._guess(item)
    self._taken += seconds

  def _guess(self, item: Item) -> float:
    task = item.task
    key = (task.dataset, task.model, task.batch_size)
    update, compile_ = self._measured.get(key, (0.0, 0.0))
    return compile_ + item.size * task.length * self._steps(task) * update

  def _steps(self, task: Task) -> int:
    """The updates of an epoch, or of a task of a stream."""
    if task not in self._updates:
      found = wiring.set_up(task, self._load(task.dataset), [0])
      self._updates[task] = found.setting.steps_per_epoch
    return self._updates[task]
