"""Time to target: how long an arm takes to be as good as tuned AdamW."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.studies import results


def target_accuracy(
  rows: Iterable[Mapping[str, Any]],
  condition: str,
  chance: float,
  arm: str = 'adamw',
  ruleset: str = 'tuned',
  column: str = 'test_accuracy',
) -> float:
  """The target of a condition: the median final accuracy of tuned AdamW.

  Args:
    rows: those of `results.csv`.
    condition: the condition.
    chance: the accuracy of guessing, a fraction: that of diverged seeds.
    arm: whose accuracy it is.
    ruleset: the ruleset of that arm.
    column: which accuracy, as of `results.accuracies`.

  Returns:
    The target, a fraction; NaN where the arm has no seed.

  Raises:
    StorageError: a row of the results cannot be.
  """
  groups = results.accuracies(rows, chance, column)
  seeds = groups.get((condition, ruleset), {}).get(arm, {})
  return float(np.median(list(seeds.values()))) if seeds else float('nan')


def time_to_target(
  accuracies: ArrayLike, times: ArrayLike, target: float
) -> np.ndarray:
  """When each trial reached the target for the first time.

  Dahl et al. (AlgoPerf), arXiv:2306.07179.

  Args:
    accuracies: [trials, evaluations], those of diverged trials as chance or
      NaN, which reaches nothing.
    times: the steps or seconds of the evaluations, [evaluations] or [trials,
      evaluations], ascending.
    target: the accuracy to reach.

  Returns:
    [trials]: the time, or ∞ for a miss; NaN if the target is NaN.
  """
  reached = np.asarray(accuracies, float) >= target
  found = np.min(np.where(reached, times, np.inf), axis=1, initial=np.inf)
  return found if not np.isnan(target) else np.full_like(found, np.nan)


def median_times(
  rows: Iterable[Mapping[str, Any]], ruleset: str, column: str
) -> tuple[list[str], list[str], np.ndarray]:
  """The median time to target over the seeds, for a performance profile.

  Args:
    rows: those of `results.csv`.
    ruleset: the ruleset.
    column: `steps_to_target` or `seconds_to_target`.

  Returns:
    The arms and the conditions, sorted, and the times, [arms, conditions]: ∞
    where half of the seeds or more missed the target, NaN where an arm has no
    seed or a condition no target.

  Raises:
    StorageError: a row of the results cannot be.
  """
  groups = {
    condition: arms
    for (condition, rules), arms in results.times(rows, column).items()
    if rules == ruleset
  }
  arms = sorted({arm for group in groups.values() for arm in group})
  conditions = sorted(groups)
  times = np.full((len(arms), len(conditions)), np.nan)
  for i, arm in enumerate(arms):
    for j, condition in enumerate(conditions):
      seeds = groups[condition].get(arm)
      if seeds:
        times[i, j] = np.median(list(seeds.values()))
  return arms, conditions, times
