"""What a study says of each arm, condition and ruleset in a row."""

from collections.abc import Iterator
import math
from typing import NamedTuple

import numpy as np

from experiments.studies import results
from experiments.studies import statistics
from experiments.studies.reading import Group
from experiments.studies.reading import Published


class Summary(NamedTuple):
  """One arm under a condition and a ruleset.

  Attributes:
    condition: the condition.
    ruleset: the ruleset.
    arm: the arm.
    planned: how many seeds there are to be.
    n: how many there are.
    diverged: how many of them diverged; they count as chance.
    mean: of the test accuracy over the seeds, a fraction; NaN without a seed.
    sd: its standard deviation over them; NaN with fewer than two.
    steps: the median of the steps to the target; ∞ where it was missed, NaN
      where there is no target.
    seconds: the same in seconds.
  """

  condition: str
  ruleset: str
  arm: str
  planned: int
  n: int
  diverged: int
  mean: float
  sd: float
  steps: float
  seconds: float

  @property
  def missing(self) -> int:
    """How many seeds are not there yet."""
    return self.planned - self.n


def of(study: Published) -> Iterator[Summary]:
  """All that the study reports, in the order of its tables."""
  times = [
    results.times(study.results, name)
    for name in ('steps_to_target', 'seconds_to_target')
  ]
  diverged = _diverged(study)
  for group, arms in study.planned.items():
    has_target = study.conditions[group[0]].target is not None
    for arm, planned in arms.items():
      values = np.array([*study.accuracies[group][arm].values()], float)
      steps, seconds = (
        _median([*each[group][arm].values()]) if has_target else math.nan
        for each in times
      )
      yield Summary(
        *(*group, arm, planned, len(values), diverged.get((*group, arm), 0)),
        *(_mean(values), float(statistics.sd(values)), steps, seconds),
      )


def lost(study: Published, group: Group) -> frozenset[str]:
  """The arms of a condition and ruleset of which no seed stayed finite."""
  statuses: dict[str, set[str]] = {}
  for row in study.results:
    if (row['condition'], row['ruleset']) == group:
      statuses.setdefault(row['arm'], set()).add(row['status'])
  return frozenset(
    arm
    for arm, found in statuses.items()
    if results.DIVERGED in found and results.FINISHED not in found
  )


def _diverged(study: Published) -> dict[tuple[str, str, str], int]:
  found: dict[tuple[str, str, str], int] = {}
  for row in study.results:
    if row['status'] == results.DIVERGED:
      key = row['condition'], row['ruleset'], row['arm']
      found[key] = found.get(key, 0) + 1
  return found


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else math.nan


def _median(values: list[float]) -> float:
  return float(np.median(values)) if values else math.nan
