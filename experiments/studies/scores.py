"""The accuracy and time that count of each seed; their summary by arm."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike
import pandas as pd

from experiments.studies import frames
from experiments.studies import statistics

IDENTITY = ['condition', 'ruleset', 'arm']
_TIMES = ['steps_to_target', 'seconds_to_target']


def with_accuracy(
  results: pd.DataFrame,
  chances: Mapping[str, float],
  column: str = 'test_accuracy',
) -> pd.DataFrame:
  """Adds the column `accuracy`, the accuracy that counts of each seed.

  Args:
    results: rows of `results.csv`.
    chances: by condition, the accuracy of guessing. It is that of a seed that
      diverged.
    column: `test_accuracy` or `validation_accuracy`.

  Returns:
    The rows, ordered by condition as `chances` is; NaN for a missing seed.
  """
  place = {name: i for i, name in enumerate(chances)}
  found = results.sort_values(
    'condition', key=lambda x: x.map(place), kind='stable', ignore_index=True
  )
  chance = found['condition'].map(chances).astype(float)
  there = found[column].where(found['status'] == frames.FINISHED)
  return found.assign(
    accuracy=there.where(found['status'] != frames.DIVERGED, chance)
  )


def finals(results: pd.DataFrame) -> pd.DataFrame:
  """The results that are there, finished or diverged.

  Args:
    results: as `with_accuracy` gives them.

  Returns:
    Their columns condition, ruleset, arm, seed, status, accuracy,
    steps_to_target and seconds_to_target. A seed that diverged never reaches
    the target: ∞.
  """
  there = results['status'].isin((frames.FINISHED, frames.DIVERGED))
  columns = [*IDENTITY, 'seed', 'status', 'accuracy', *_TIMES]
  found = results.loc[there, columns].reset_index(drop=True)
  found.loc[found['status'] == frames.DIVERGED, _TIMES] = np.inf
  return found


def summary(results: pd.DataFrame, timed: Iterable[str]) -> pd.DataFrame:
  """A row for each condition, ruleset and arm, in the order of the results.

  Args:
    results: as `with_accuracy` gives them.
    timed: the conditions that have a target.

  Returns:
    The columns condition, ruleset, arm; seeds_planned, seeds (those that are
    there), diverged (of these); mean and sd of the accuracy over the seeds;
    steps and seconds, the medians of the times to the target, ∞ for a miss.
    NaN is what cannot be known: the sd of one seed, times without a target.
  """
  timed = {*timed}
  rows = []
  there = finals(results)
  by_arm = dict(iter(there.groupby(IDENTITY, sort=False)))
  for key, planned in results.groupby(IDENTITY, sort=False):
    own = by_arm.get(key, there[:0])
    accuracy, times = own['accuracy'].to_numpy(), own[_TIMES].to_numpy()
    if key[0] not in timed or not len(own):
      times = np.full((1, 2), np.nan)
    steps, seconds = np.median(times, axis=0)
    row = {
      **dict(zip(IDENTITY, key, strict=True)),
      'seeds_planned': len(planned),
      'seeds': len(own),
      'diverged': int((own['status'] == frames.DIVERGED).sum()),
      'mean': accuracy.mean() if len(own) else np.nan,
      'sd': float(statistics.sd(accuracy)),
      'steps': steps,
      'seconds': seconds,
    }
    rows.append(row)
  return pd.DataFrame(rows)


def target(results: pd.DataFrame, ruleset: str) -> float:
  """The target of a condition: the median final accuracy of AdamW, a fraction.

  It is NaN where AdamW has no seed under the ruleset. `results` are the rows of
  the condition, as `with_accuracy` gives them.
  """
  own = results[(results['ruleset'] == ruleset) & (results['arm'] == 'adamw')]
  accuracy = own['accuracy'].dropna()
  return float(np.median(accuracy)) if len(accuracy) else float('nan')


def time_to_target(
  accuracies: ArrayLike, times: ArrayLike, target: float
) -> np.ndarray:
  """When each training reached the target for the first time.

  Dahl et al. (AlgoPerf), arXiv:2306.07179.

  Args:
    accuracies: [trainings, evaluations]; NaN reaches nothing.
    times: of the evaluations, [evaluations], ascending.
    target: the accuracy to reach.

  Returns:
    [trainings]: the time, or ∞ for a miss.
  """
  reached = np.asarray(accuracies, float) >= target
  return np.min(np.where(reached, times, np.inf), axis=1, initial=np.inf)
