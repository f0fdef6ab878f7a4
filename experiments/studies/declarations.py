"""Declarations: studies of arms, conditions, rulesets and seeds."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from experiments import data
from experiments import optimizers
from experiments.configs.training import Training
from experiments.data import streams
from experiments.studies.tuner import Budget
from experiments.studies.tuner import Trial

DEFAULT, TUNED = 'default', 'tuned'
RULESETS = (DEFAULT, TUNED)
# Hyperparameters that are good wherever an arm was tuned, for conditions under
# which none was; see `stable`.
STABLE = 'stable'

# Reporting seeds start at 0.
FIRST_TUNING_SEED = 1_000_000

# The arms of a tiny study without --only.
SMOKE_ARMS = ('full', 'gradient_only', 'adamw', 'regenerate_inactive')
_SMOKE_SEEDS = 2
_SMOKE_BUDGET = Budget(rates=3, trials=6, rounds=1, finalists=2, seeds=2)


@dataclasses.dataclass(frozen=True)
class Task(Training):
  """The training of a condition, and what part of its data is held out.

  Reported runs on a stream hold nothing out. They are tuned and compared by the
  online accuracy of all tasks or, where classes are split, by the average
  accuracy after the last task.

  Attributes:
    held_out: whether reported runs, like tuning, leave out the validation part.
      The curves for the time to the target are measured on it, since the test
      set is read once. If not, they train on all of the training part, as
      published runs do, and have no curve.
    quick: whether the compiler hurries, for code that hardly runs.
  """

  held_out: bool = True
  quick: bool = False


def on_stream(name: str, dataset: str) -> Task:
  """The task of a stream as it was published."""
  stream = streams.STREAMS[name]
  return Task(
    dataset,
    stream.model,
    batch_size=stream.batch_size,
    held_out=False,
    stream=name,
    tasks=stream.tasks,
  )


@dataclasses.dataclass(frozen=True)
class Condition:
  """A task under which the arms of a study are compared.

  Attributes:
    name: what the tables call it.
    task: the task.
    rulesets: under which the arms are reported.
    tuned_on: the tuning condition from which the arms take their tuned
      hyperparameters. Arms that are not tuned under it are reported at their
      defaults alone.
    numbers: hyperparameters that replace those of the arms that have them,
      whether default or tuned.
    arms: those that are compared; None for all of the study's.
    seeds: how many, for every arm; None for what the study says.
    default_seeds: how many at most under the default ruleset; None for as many
      as under the tuned one.
    references: what its arms are compared with besides the usual arms.
  """

  name: str
  task: Task
  rulesets: tuple[str, ...] = RULESETS
  tuned_on: str | None = None
  numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
  arms: tuple[str, ...] | None = None
  seeds: int | None = None
  default_seeds: int | None = None
  references: tuple[str, ...] = ()

  @property
  def chance(self) -> float:
    """The accuracy of guessing, a fraction."""
    classes = data.spec(self.task.dataset).num_classes
    if self.task.stream and streams.STREAMS[self.task.stream].heads:
      classes //= self.task.length
    return 1 / classes

  def defaults(self, arm: str) -> dict[str, float]:
    """The trial of an arm under the default ruleset."""
    rate = optimizers.ARMS[arm].learning_rate
    return self.replaced(arm, {optimizers.LEARNING_RATE: rate})

  def replaced(self, arm: str, trial: Trial) -> dict[str, float]:
    """A trial of an arm, with the condition's `numbers` in their place."""
    known = optimizers.ARMS[arm].hyperparameters
    own = {name: x for name, x in self.numbers.items() if name in known}
    return {**trial, **own}


@dataclasses.dataclass(frozen=True)
class Tuning:
  """How arms are tuned, once for all studies that share the tuning.

  Attributes:
    tasks: the tuning conditions, by name.
    arms: the arms; a range is extended for all of them.
    budget: what each arm gets under each condition.
    only: by condition, the arms that are tuned under it, if not all are.
  """

  tasks: Mapping[str, Task]
  arms: tuple[str, ...]
  budget: Budget = dataclasses.field(default_factory=Budget)
  only: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def arms_of(self, condition: str | None) -> tuple[str, ...]:
    """The arms that are tuned under a condition."""
    return self.only.get(condition or '', self.arms)


@dataclasses.dataclass(frozen=True)
class Study:
  """A study, as the catalogue declares it.

  There is no tuning if no condition reports tuned arms. An arm has `seeds`
  seeds, a key arm `key_seeds`, and those of `most_seeds` at most so many.
  """

  name: str
  arms: tuple[str, ...]
  conditions: tuple[Condition, ...]
  tuning: Tuning | None = None
  seeds: int = 10
  key_seeds: int = 20
  key_arms: tuple[str, ...] = ()
  most_seeds: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @property
  def all_arms(self) -> tuple[str, ...]:
    """The arms that are compared or tuned."""
    tuned = self.tuning.arms if self.tuning else ()
    own = [arm for each in self.conditions for arm in each.arms or ()]
    return tuple(dict.fromkeys([*self.arms, *own, *tuned]))

  @property
  def datasets(self) -> tuple[str, ...]:
    """The names of the data sets that the study needs."""
    tasks = [each.task for each in self.conditions]
    tasks += self.tuning.tasks.values() if self.tuning else ()
    return tuple(dict.fromkeys(task.dataset for task in tasks))

  def seed_list(
    self, condition: Condition, ruleset: str, arm: str
  ) -> tuple[int, ...]:
    """The reporting seeds of an arm under a condition and a ruleset."""
    own = self.key_seeds if arm in self.key_arms else self.seeds
    count = condition.seeds or own
    if ruleset == DEFAULT:
      count = min(count, condition.default_seeds or count)
    return tuple(range(min(count, self.most_seeds.get(arm, count))))

  def definition(self) -> dict[str, Any]:
    """What must not change while results are collected, as JSON has it.

    Arms and references are not part of it: a study may be given more of them.
    """
    tuning = self.tuning
    return {
      'conditions': {
        each.name: {
          key: value
          for key, value in dataclasses.asdict(each).items()
          if key not in ('name', 'arms', 'references')
        }
        for each in self.conditions
      },
      'tuning': {
        'tasks': {k: dataclasses.asdict(v) for k, v in tuning.tasks.items()},
        'budget': dataclasses.asdict(tuning.budget),
      }
      if tuning
      else None,
      'seeds': self.seeds,
      'key_seeds': self.key_seeds,
    }


def smoke(study: Study) -> Study:
  """The same study, tiny and on the digits: few conditions, trials and seeds.

  With the arms `SMOKE_ARMS` it runs every kind of cell in a minute or two.
  """

  def small(task: Task) -> Task:
    if task.stream:
      return dataclasses.replace(
        task, dataset='digits', tasks=2, updates=30, quick=True
      )
    return dataclasses.replace(
      task,
      dataset='digits',
      model='mlp',
      epochs=2,
      batch_size=32,
      warmup_epochs=min(task.warmup_epochs, 1),
      quick=True,
    )

  first, *others = study.conditions
  # A split has more measures and pictures.
  others.sort(key=lambda each: not each.task.splits)
  conditions = tuple(
    dataclasses.replace(each, task=small(each.task), seeds=_SMOKE_SEEDS)
    for each in (first, *others[:1])
  )
  needed = {each.tuned_on for each in conditions}
  if study.tuning and any(STABLE in each.rulesets for each in conditions):
    needed |= study.tuning.tasks.keys()
  tuning = study.tuning and dataclasses.replace(
    study.tuning,
    tasks={
      name: small(task)
      for name, task in study.tuning.tasks.items()
      if name in needed
    },
    budget=_SMOKE_BUDGET,
  )
  return dataclasses.replace(study, conditions=conditions, tuning=tuning)
