"""The plan of a study: its cells, as far as they are known by now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import optimizers
from experiments.studies import declarations
from experiments.studies import known
from experiments.studies import stable
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.studies.cells import Store
from experiments.studies.declarations import Condition
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.studies.tuner import Batch
from experiments.studies.tuner import Tuner


class Item(NamedTuple):
  """A cell of the plan, and its purpose.

  Attributes:
    condition: its name.
    what: a ruleset, or a stage of the tuner.
    arm: its name.
    task: of the cell.
    size: the number of trainings.
    cell: None if it depends on results that are not there yet.
    shared: whether other arms wait for it, so that any process may compute it.
    owner: a number by which processes divide the work.
  """

  condition: str
  what: str
  arm: str
  task: Task
  size: int
  cell: Cell | None
  shared: bool
  owner: int

  @property
  def label(self) -> str:
    """The cell in words."""
    return f'{self.condition}, {self.what}, {self.arm}'


class Final(NamedTuple):
  """A reported result: an arm under a condition and a ruleset.

  It has no cell while the tuned hyperparameters are not known, and no outcome
  while that is not there.
  """

  condition: Condition
  ruleset: str
  arm: str
  seeds: tuple[int, ...]
  cell: Cell | None
  outcome: Outcome | None

  @property
  def identity(self) -> dict[str, str]:
    """The columns by which tables tell it from others."""
    return {
      'condition': self.condition.name,
      'ruleset': self.ruleset,
      'arm': self.arm,
    }


class Plan:
  """The cells of a study, from its declaration and the results so far.

  The plan keeps no state: which cells come next follows from those that are
  there, so a study resumes where it was stopped.

  The arms are those that are in this study directory. Results that are not in
  the store are taken from the tables of other studies.
  """

  def __init__(
    self,
    study: Study,
    arms: Sequence[str],
    store: Store,
    others: Sequence[known.Tables] = (),
  ) -> None:
    self.study, self.arms, self.store = study, tuple(arms), store
    self._others = others
    # By arm and tuning condition; None for all of them.
    self._tuned: dict[tuple[str, str | None], dict[str, float]] = {}

  def tuners(self) -> dict[str, Tuner]:
    """By tuning condition, the tuner, with the results so far."""
    tuning = self.study.tuning
    if tuning is None:
      return {}
    return {
      name: Tuner(
        {
          arm: optimizers.ARMS[arm]
          for arm in tuning.arms_of(name)
          if arm in self.arms
        },
        tuning.budget,
        self._scores(task),
      )
      for name, task in tuning.tasks.items()
    }

  def tuning_cell(self, task: Task, arm: str, batch: Batch) -> Cell:
    """The cell of a batch of the tuner. It does not read the test set."""
    seeds = tuple(declarations.FIRST_TUNING_SEED + x for x in batch.seeds)
    return Cell(task, arm, batch.trials, seeds, tests=False)

  def _scores(self, task: Task) -> Callable[[str, Batch], np.ndarray | None]:
    def found(arm: str, batch: Batch) -> np.ndarray | None:
      outcome = self.outcome(self.tuning_cell(task, arm, batch))
      return outcome.scores(len(batch.seeds)) if outcome else None

    return found

  def finals(self, tuners: Mapping[str, Tuner] | None = None) -> list[Final]:
    """All reported results, in the order of the tables."""
    tuners = self.tuners() if tuners is None else tuners
    found = []
    for condition in self.study.conditions:
      for ruleset in condition.rulesets:
        for arm in self._reported_arms(condition, ruleset):
          trial = self._trial(condition, ruleset, arm, tuners)
          seeds = self.study.seed_list(condition, ruleset, arm)
          cell = None
          if trial is not None:
            cell = Cell(condition.task, arm, (trial,), seeds, tests=True)
          outcome = self.outcome(cell)
          found.append(Final(condition, ruleset, arm, seeds, cell, outcome))
    return found

  def _reported_arms(self, condition: Condition, ruleset: str) -> list[str]:
    arms = [x for x in condition.arms or self.study.arms if x in self.arms]
    if ruleset == declarations.DEFAULT:
      return arms
    assert self.study.tuning is not None
    on = [condition.tuned_on]
    if ruleset == declarations.STABLE:
      on = [*self.study.tuning.tasks]
    return [
      arm
      for arm in arms
      if all(arm in self.study.tuning.arms_of(each) for each in on)
    ]

  def _trial(
    self,
    condition: Condition,
    ruleset: str,
    arm: str,
    tuners: Mapping[str, Tuner],
  ) -> dict[str, float] | None:
    if ruleset == declarations.DEFAULT:
      return condition.defaults(arm)
    on = None if ruleset == declarations.STABLE else condition.tuned_on
    # Results never change, so neither does the best trial.
    if (arm, on) not in self._tuned:
      best = tuners[on].best(arm) if on else _stable(arm, tuners)
      if best is None:
        return None
      self._tuned[arm, on] = best
    return condition.replaced(arm, self._tuned[arm, on])

  def items(self) -> list[Item]:
    """All cells, the ones that others wait for first; none stands twice."""
    tuners = self.tuners()
    items = [*self._tuning_items(tuners), *self._final_items(tuners)]
    found: dict[str, Item] = {}
    for i, item in enumerate(items):
      found.setdefault(item.cell.digest if item.cell else str(i), item)
    return sorted(found.values(), key=self._place)

  def _place(self, item: Item) -> tuple[int, int]:
    """When a cell's turn is: condition by condition.

    Within one, what all arms wait for comes first, and then what needs no
    tuning. Slow arms, those with fewer seeds, are reported after all others.
    """
    conditions = self.study.conditions
    order = ('rates', 'extension', declarations.DEFAULT)
    what = order.index(item.what) if item.what in order else len(order)
    wanted = (
      i
      for i, each in enumerate(conditions)
      if item.condition == (each.tuned_on if item.shared else each.name)
    )
    place = next(wanted, len(conditions))
    if item.arm in self.study.most_seeds and not item.shared:
      place += len(conditions)
    return place, what

  def _tuning_items(self, tuners: Mapping[str, Tuner]) -> Iterator[Item]:
    tuning = self.study.tuning
    for name, tuner in tuners.items():
      assert tuning is not None
      task = tuning.tasks[name]
      for owner, arm in enumerate(tuner.arms):
        for stage in tuner.stages(arm):
          cell = stage.batch and self.tuning_cell(task, arm, stage.batch)
          yield Item(name, stage.name, arm, task, stage.size, cell, True, owner)

  def _final_items(self, tuners: Mapping[str, Tuner]) -> Iterator[Item]:
    for each in self.finals(tuners):
      owner = self.arms.index(each.arm)
      task, size = each.condition.task, len(each.seeds)
      yield Item(
        *(each.condition.name, each.ruleset, each.arm, task, size, each.cell),
        *(False, owner),
      )

  def outcome(self, cell: Cell | None) -> Outcome | None:
    """The outcome of a cell, or what others know of it; None for neither."""
    if cell is None:
      return None
    return self.store.get(cell) or known.find(self._others, cell)


def _stable(name: str, tuners: Mapping[str, Tuner]) -> dict[str, float] | None:
  """The trial of an arm that is good wherever it was tuned; see `stable`.

  Where none finished everywhere, it is the default; while trials are missing,
  None.
  """
  arm = optimizers.ARMS[name]
  rows = []
  for condition, tuner in tuners.items():
    scored = tuner.scored_trials(name)
    if scored is None:
      return None
    rows += [
      {
        'condition': condition,
        'arm': name,
        'seed': declarations.FIRST_TUNING_SEED,
        'hyperparameters': json.dumps(arm.values(trial)),
        'validation_accuracy': score,
        'status': '',
      }
      for score, trial in scored
    ]
  for value in stable.keep(pd.DataFrame(rows)).itertuples():
    return stable.named(value)
  return {optimizers.LEARNING_RATE: arm.learning_rate}


@dataclasses.dataclass(frozen=True)
class Share:
  """What the process of this index, from 1, computes of the cells of arms."""

  arms: tuple[str, ...]
  index: int = 1
  count: int = 1

  def wants(self, item: Item) -> bool:
    """Whether the process waits for a cell, or computes it."""
    if item.arm not in self.arms:
      # Ranges are extended for all arms, so that every search waits for the
      # grids of all: whoever has nothing else to do computes them.
      return item.what in ('rates', 'extension')
    return item.shared or self.owns(item)

  def owns(self, item: Item) -> bool:
    """Whether the process computes the cell before any other does."""
    return item.owner % self.count == self.index - 1
