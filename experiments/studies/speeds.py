"""How long an update of each arm takes, measured in turn in one process.

Cells are computed beside each other, and perhaps beside other work, so that
their own times say little of the arms. `seconds_to_target` is therefore the
number of updates times what is measured here, once all cells are there.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import statistics

from experiments import data
from experiments import optimizers
from experiments.costs import timing
from experiments.studies import computing
from experiments.studies.cells import Cell
from experiments.studies.declarations import Task
from experiments.studies.estimates import Load
from experiments.studies.plan import Plan
from experiments.training.session import Session

# Of an epoch, which is called in turn with those of the other arms.
_UPDATES = 32
_SECONDS, _ROUNDS = 60.0, 20

# By what an update does, then by arm: seconds.
Speeds = Mapping[str, Mapping[str, float]]


class _OneCallError(Exception):
  """A program was called."""


def key(task: Task) -> str:
  """What tells the updates of an arm from those on other tasks."""
  return f'{task.dataset}, {task.model}, batch {task.batch_size}'


def missing(plan: Plan, found: Speeds | None) -> bool:
  """Whether there is an arm whose updates were never measured."""
  return any(
    found is None or not arms.keys() <= (found.get(name) or arms).keys()
    for name, (_, arms) in _wanted(plan).items()
  )


def measure(plan: Plan, load: Load, known: Sequence[Speeds] = ()) -> Speeds:
  """Measures the updates of all arms whose time to a target is reported.

  Args:
    plan: the plan.
    load: a data set by its name.
    known: what other studies measured. It is taken over where all arms were
      measured together, for only then do their times compare.

  Returns:
    For each kind of task, for each arm, the median over the rounds.
  """
  return {
    name: _among(known, name, arms) or _measured(task, tuple(arms), load)
    for name, (task, arms) in _wanted(plan).items()
  }


def _among(
  known: Sequence[Speeds], name: str, arms: Mapping[str, None]
) -> Mapping[str, float] | None:
  """Of the arms, what is known of a kind of task."""
  for found in known:
    if arms.keys() <= (there := found.get(name, {})).keys():
      return {arm: there[arm] for arm in arms}
  return None


def _wanted(plan: Plan) -> dict[str, tuple[Task, dict[str, None]]]:
  """By kind of task, one of the tasks, and the arms."""
  wanted: dict[str, tuple[Task, dict[str, None]]] = {}
  for final in plan.finals():
    task = final.condition.task
    if task.held_out:
      wanted.setdefault(key(task), (task, {}))[1][final.arm] = None
  return wanted


def _measured(
  task: Task, arms: tuple[str, ...], load: Load
) -> dict[str, float]:
  images = len(data.validation(load(task.dataset)).train_labels)
  few = _UPDATES * task.batch_size / images
  task = dataclasses.replace(task, fraction=min(task.fraction, few))
  sessions = {arm: _session(task, arm, load) for arm in arms}
  # The last update of an epoch is not timed: it may be smaller than others.
  if any(session.steps < 2 for session in sessions.values()):
    return {}
  steps = {
    arm: functools.partial(_call, session) for arm, session in sessions.items()
  }
  times = timing.interleaved(steps, _SECONDS, _ROUNDS)
  return {arm: statistics.median(found) for arm, found in times.items()}


def _session(task: Task, arm: str, load: Load) -> Session:
  """The training of one seed of an arm at its defaults."""
  rate = optimizers.ARMS[arm].learning_rate
  trials = ({optimizers.LEARNING_RATE: rate},)
  cell = Cell(task, arm, trials, seeds=(0,), tests=False)
  part = computing.training_part(cell, load(task.dataset))
  session = computing.make_session(cell, part)
  session.compile(computing.quick() if task.quick else None)
  return session


def _call(session: Session) -> float:
  """Makes some updates, and says how long one took."""

  def pause() -> None:
    raise _OneCallError

  while session.seconds_per_update is None:
    with contextlib.suppress(_OneCallError):
      session.train_epoch(pause)
  with contextlib.suppress(_OneCallError):
    session.train_epoch(pause)
  return session.seconds_per_update
