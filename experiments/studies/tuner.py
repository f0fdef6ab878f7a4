"""The tuner: which trials an arm gets, and which of them wins.

All arms are tuned together, under one condition. Every arm gets the same number
of trials. The first are a grid of learning rates over its own range. If the
best rate of any arm lies on the edge, the ranges of all arms are extended there
by one step of the grid, up to a number of rounds. The other trials are
quasi-random (scrambled Halton points) around the best rate, over at most three
hyperparameters of the arm. The best few are tried again on fresh seeds, whose
mean decides.

A trial that diverged scores -∞: it is worse than any other, and counts.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from experiments.optimizers import Arm
from experiments.optimizers import LEARNING_RATE
from experiments.optimizers import Range

# One combination of hyperparameters, by name.
Trial = Mapping[str, float]
_SEARCHED = 3


@dataclasses.dataclass(frozen=True)
class Budget:
  """The budget of every arm.

  Attributes:
    rates: learning rates in the grid, both ends of the range included.
    trials: in all, those of extensions included.
    rounds: how many times the ranges may be extended.
    finalists: how many of the best are tried again.
    seeds: on how many fresh seeds.
  """

  rates: int = 5
  trials: int = 15
  rounds: int = 3
  finalists: int = 3
  seeds: int = 3

  def __post_init__(self) -> None:
    # An extension adds at most a rate at each end, and something is left.
    if self.rates < 2 or self.trials <= self.rates + 2 * self.rounds:
      raise ValueError(f'too few trials for the grid and extensions: {self}')


class Batch(NamedTuple):
  """Trials that are trained together.

  Attributes:
    trials: all of the same hyperparameters.
    seeds: each trial is trained with all of them, counted from 0: 0 for the
      grid and the search, the others for the finalists.
  """

  trials: tuple[Trial, ...]
  seeds: tuple[int, ...]


class Stage(NamedTuple):
  """One batch of an arm's tuning, of so many trainings.

  It is None where it depends on results that are not there yet.
  """

  name: str
  size: int
  batch: Batch | None


# From an arm and a batch, the scores [trials, seeds], higher for better; None
# where they are not there yet.
Found = Callable[[str, Batch], np.ndarray | None]


class Tuner:
  """The tuning of some arms under one condition, as far as results are there.

  It keeps nothing: what comes next follows from what is found.
  """

  def __init__(
    self, arms: Mapping[str, Arm], budget: Budget, found: Found
  ) -> None:
    self.arms, self._budget, self._found = arms, budget, found

  @functools.cached_property
  def _extended(self) -> tuple[list[tuple[int, int]], bool]:
    """The rounds of the grid, as rates below and above it; are they all?"""
    rounds = [(0, 0)]
    while True:
      edges = [self._edges(name, rounds) for name in self.arms]
      if None in edges:
        return rounds, False
      low, high = (any(each[i] for each in edges if each) for i in (0, 1))
      if len(rounds) > self._budget.rounds or not (low or high):
        return rounds, True
      below, above = rounds[-1]
      rounds.append((below + low, above + high))

  @property
  def extensions(self) -> tuple[int, int]:
    """By how many rates the ranges were extended, below and above."""
    return self._extended[0][-1]

  def stages(self, name: str) -> list[Stage]:
    """All batches of an arm, as far as they are known, in order."""
    budget = self._budget
    rounds, settled = self._extended
    grids = self._grids(name, rounds)
    stages = [
      Stage('extension' if i else 'rates', len(grid.trials), grid)
      for i, grid in enumerate(grids)
    ]
    left = budget.trials - sum(len(grid.trials) for grid in grids)
    search = self._search(name, grids) if settled else None
    finalists = min(budget.finalists, budget.trials)
    final = self._finalists(name, [*grids, search]) if search else None
    return [
      *stages,
      Stage('search', left, search),
      Stage('finalists', finalists * budget.seeds, final),
    ]

  def best(self, name: str) -> dict[str, float] | None:
    """The trial that won; None while it is not known."""
    final = self.stages(name)[-1].batch
    scores = self._found(name, final) if final else None
    if final is None or scores is None:
      return None
    return dict(final.trials[int(np.argmax(np.mean(scores, axis=1)))])

  def scored_trials(self, name: str) -> list[tuple[float, Trial]] | None:
    """All trials with their scores, on the first seed; None while one lacks."""
    return self._scored(name, [stage.batch for stage in self.stages(name)[:-1]])

  def trials(self, name: str) -> list[Trial]:
    """The trials known so far, in the order in which they were made."""
    batches = [stage.batch for stage in self.stages(name)[:-1]]
    return [each for batch in batches if batch for each in batch.trials]

  def _grids(self, name: str, rounds: Sequence[tuple[int, int]]) -> list[Batch]:
    """The rates that each round adds."""
    last = self._budget.rates - 1
    places = [[*range(last + 1)]]
    for (before, after), (below, above) in itertools.pairwise(rounds):
      places.append(
        [-below] * (below > before) + [last + above] * (above > after)
      )
    return [
      Batch(tuple(self._rate(name, place) for place in each), (0,))
      for each in places
    ]

  def _rate(self, name: str, place: int) -> Trial:
    """The rate at a place of the grid, in which 0 is the low end."""
    own = self.arms[name].hyperparameters[LEARNING_RATE]
    share = place / (self._budget.rates - 1)
    rate = own.low * (own.high / own.low) ** share
    # So many digits that a table shows the number itself.
    return {LEARNING_RATE: float(f'{rate:.6g}')}

  def _scored(
    self, name: str, batches: Sequence[Batch | None]
  ) -> list[tuple[float, Trial]] | None:
    """Every trial of some batches with its score, None if one is missing."""
    scored: list[tuple[float, Trial]] = []
    for batch in batches:
      scores = self._found(name, batch) if batch else None
      if batch is None or scores is None:
        return None
      scored += zip(scores[:, 0].tolist(), batch.trials, strict=True)
    return scored

  def _best_rate(self, name: str, grids: Sequence[Batch]) -> float | None:
    scored = self._scored(name, grids)
    if scored is None:
      return None
    # The lowest of equals: where all diverged, shorter steps are the way out.
    return max(scored, key=lambda x: (x[0], -x[1][LEARNING_RATE]))[1][
      LEARNING_RATE
    ]

  def _edges(
    self, name: str, rounds: Sequence[tuple[int, int]]
  ) -> tuple[bool, bool] | None:
    """Whether the best rate is the lowest, or the highest, of a grid."""
    grids = self._grids(name, rounds)
    best = self._best_rate(name, grids)
    if best is None:
      return None
    rates = [each[LEARNING_RATE] for grid in grids for each in grid.trials]
    return best == min(rates), best == max(rates)

  def _search(self, name: str, grids: Sequence[Batch]) -> Batch | None:
    """Quasi-random trials within a step of the grid around the best rate."""
    best = self._best_rate(name, grids)
    count = self._budget.trials - sum(len(grid.trials) for grid in grids)
    if best is None:
      return None
    own = self.arms[name].hyperparameters
    rate = own[LEARNING_RATE]
    step = (rate.high / rate.low) ** (1 / (self._budget.rates - 1))
    ranges = {
      LEARNING_RATE: Range(best, best / step, best * step),
      **{each: own[each] for each in searched(self.arms[name])[1:]},
    }
    return Batch(quasi_random(ranges, count), (0,))

  def _finalists(
    self, name: str, batches: Sequence[Batch | None]
  ) -> Batch | None:
    """The best trials, on seeds that nothing was chosen by."""
    scored = self._scored(name, batches)
    if scored is None:
      return None
    order = sorted(range(len(scored)), key=lambda i: -scored[i][0])
    arm = self.arms[name]
    chosen = [scored[i][1] for i in order[: self._budget.finalists]]
    # Trials of one program have the same hyperparameters.
    names = searched(arm)
    trials = tuple(
      {each: float(arm.values(trial)[each]) for each in names}
      for trial in chosen
    )
    return Batch(trials, tuple(range(1, self._budget.seeds + 1)))


def searched(arm: Arm) -> tuple[str, ...]:
  """The hyperparameters that are tuned: the learning rate and the last ones.

  Those that many arms share, such as the weight decay, are declared before
  those that are an arm's own.
  """
  others = [name for name in arm.hyperparameters if name != LEARNING_RATE]
  return (LEARNING_RATE, *others[-(_SEARCHED - 1) :])


def quasi_random(ranges: Mapping[str, Range], count: int) -> tuple[Trial, ...]:
  """A trial for each of `count` scrambled Halton points, always the same."""
  points = qmc.Halton(len(ranges), scramble=True, rng=0).random(count)
  return tuple(
    {
      name: float(f'{_at(range_, share):.6g}')
      for (name, range_), share in zip(ranges.items(), point, strict=True)
    }
    for point in points.tolist()
  )


def _at(range_: Range, share: float) -> float:
  """The number at a share of a range."""
  low, high = range_.low, range_.high
  if not range_.log:
    return low + share * (high - low)
  low, high = math.log(low), math.log(high)
  return math.exp(low + share * (high - low))
