"""How long updates and cells take.

Cells are computed beside each other, and perhaps beside other work, so that
their own times say little of the arms. `seconds_to_target` is therefore the
number of updates times the seconds of an update, which are measured once all
cells are there, of all arms in turn in one process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import statistics

from experiments import data
from experiments import optimizers
from experiments.costs import timing
from experiments.studies import computing
from experiments.studies.cells import Cell
from experiments.studies.declarations import Task
from experiments.studies.plan import Item
from experiments.studies.plan import Plan
from experiments.training import wiring
from experiments.training.session import Session

# The length of an epoch, so that arms are called in turn.
_UPDATES = 32
_SECONDS, _ROUNDS = 60.0, 20
# For estimates. With an α it is among the arms whose updates take longest.
_ESTIMATED = 'full'

# By what an update does, then by arm: seconds.
Speeds = Mapping[str, Mapping[str, float]]
# A data set by its name.
Load = Callable[[str], data.Dataset]


def key(task: Task) -> str:
  """Names a kind of task: on all of a kind, updates take the same time."""
  return f'{task.dataset}, {task.model}, batch {task.batch_size}'


def unmeasured(
  plan: Plan, known: Speeds
) -> dict[str, tuple[Task, tuple[str, ...]]]:
  """What is to be measured: by kind of task, one of the tasks, and its arms.

  While a cell is missing, it is nothing. For an arm that is not known, all of
  its kind are measured again: only what was measured together compares.
  """
  if any(plan.outcome(item.cell) is None for item in plan.items()):
    return {}
  wanted: dict[str, tuple[Task, list[str]]] = {}
  for final in plan.finals():
    task = final.condition.task
    if task.held_out:
      wanted.setdefault(key(task), (task, []))[1].append(final.arm)
  return {
    kind: (task, tuple(dict.fromkeys(arms)))
    for kind, (task, arms) in wanted.items()
    if kind not in known or (known[kind] and {*arms} - {*known[kind]})
  }


def measure(task: Task, arms: Sequence[str], load: Load) -> dict[str, float]:
  """The seconds of an update of each arm, all of which are measured in turn.

  Nothing where an epoch has a single update, which may be a smaller one.
  """
  images = len(data.validation(load(task.dataset)).train_labels)
  few = _UPDATES * task.batch_size / images
  task = dataclasses.replace(task, fraction=min(task.fraction, few))
  sessions = {arm: _session(task, arm, load) for arm in arms}
  if any(session.steps < 2 for session in sessions.values()):
    return {}
  steps = {
    arm: functools.partial(_call, session) for arm, session in sessions.items()
  }
  times = timing.interleaved(steps, _SECONDS, _ROUNDS)
  return {arm: statistics.median(found) for arm, found in times.items()}


class Estimate:
  """The seconds that cells take: guessed from an update, then from cells.

  So many jobs are computed at once.
  """

  def __init__(self, load: Load, jobs: int) -> None:
    self._load, self._jobs = load, jobs
    # By kind of task: of an update, and of compiling.
    self._measured: dict[str, tuple[float, float]] = {}
    self._updates: dict[Task, int] = {}
    self._guessed = self._taken = 0.0

  def measure(self, task: Task) -> None:
    """Measures an update on a task, unless one of its kind was measured."""
    if key(task) not in self._measured:
      session = _session(task, _ESTIMATED, self._load)
      # The first call makes one update, the second as many as fill its time.
      _call(session)
      self._measured[key(task)] = _call(session), session.compile_seconds

  def seconds(self, items: Iterable[Item]) -> float:
    """The seconds that these cells are going to take."""
    guessed = sum(self._guess(item) for item in items) / self._jobs
    # Cells that were computed say how good the guess is.
    return guessed * (self._taken / self._guessed if self._guessed else 1.0)

  def took(self, item: Item, seconds: float) -> None:
    """Learns from a cell that was computed."""
    self._guessed += self._guess(item)
    self._taken += seconds

  def _guess(self, item: Item) -> float:
    task = item.task
    update, compile_ = self._measured.get(key(task), (0.0, 0.0))
    return compile_ + item.size * task.length * self._steps(task) * update

  def _steps(self, task: Task) -> int:
    """The updates of an epoch, or of a task of a stream."""
    if task not in self._updates:
      found = wiring.set_up(task, self._load(task.dataset), [0])
      self._updates[task] = found.context.steps_per_epoch
    return self._updates[task]


def _session(task: Task, arm: str, load: Load) -> Session:
  """The training of one seed of an arm at its defaults, compiled."""
  rate = optimizers.ARMS[arm].learning_rate
  trials = ({optimizers.LEARNING_RATE: rate},)
  cell = Cell(task, arm, trials, seeds=(0,), tests=False)
  part = computing.training_part(cell, load(task.dataset))
  return computing.make_session(cell, part)


def _call(session: Session) -> float:
  """Makes some updates, and says how long one took."""
  session.advance()
  assert session.seconds_per_update is not None
  return session.seconds_per_update
