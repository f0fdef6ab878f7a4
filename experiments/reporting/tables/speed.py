"""How fast the arms reach the target: scores of the performance profiles."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import profiles
from experiments.studies import targets
from experiments.studies.reading import Published

MEASURES = {'steps': 'steps_to_target', 'seconds': 'seconds_to_target'}
# Of the conditions that have a target, fewer than this are no profile.
_FEW = 2


class Times(NamedTuple):
  """Times to the target, or other costs, that can be compared.

  Attributes:
    arms: those that are there under all of the conditions.
    conditions: those that have a cost, and most of the arms.
    times: [arms, conditions], ∞ for a miss.
  """

  arms: list[str]
  conditions: list[str]
  times: np.ndarray


def times(study: Published, ruleset: str, measure: str) -> Times | None:
  """The median times of a ruleset; None where a profile says nothing."""
  arms, conditions, found = targets.median_times(
    study.results, ruleset, MEASURES[measure]
  )
  timed = [study.conditions[x].target is not None for x in conditions]
  return comparable(arms, conditions, np.where(timed, found, np.nan))


def comparable(
  arms: Sequence[str], conditions: Sequence[str], found: np.ndarray
) -> Times | None:
  """What of some costs a profile can be made of; None where it says nothing.

  An arm that is not there under every condition would remove conditions for
  all of them, so it is left out.

  Args:
    arms: the arms.
    conditions: the conditions.
    found: the costs, [arms, conditions]; NaN where there is none.
  """
  there = ~np.isnan(found)
  # Grids of conditions may have a few arms of their own.
  kept = 2 * there.sum(axis=0) > len(arms)
  whole = there[:, kept].all(axis=1)
  if kept.sum() < _FEW or not whole.any():
    return None
  return Times(
    [arm for arm, each in zip(arms, whole, strict=True) if each],
    [name for name, each in zip(conditions, kept, strict=True) if each],
    found[whole][:, kept],
  )


def speed(study: Published) -> Table | None:
  """The scores, by ruleset."""
  rows: list[dict[str, Any]] = []
  for ruleset in dict.fromkeys(ruleset for _, ruleset in study.planned):
    by_arm: dict[str, dict[str, Any]] = {}
    for measure in MEASURES:
      found = times(study, ruleset, measure)
      if found is None:
        continue
      scores = profiles.score(found.times)
      reached = np.isfinite(found.times).sum(axis=1)
      for arm, score, count in zip(found.arms, scores, reached, strict=True):
        row = by_arm.setdefault(arm, {'ruleset': ruleset, 'arm': arm})
        row[f'{measure}_score'] = float(score)
        row['conditions_reached'] = int(count)
        row['conditions'] = len(found.conditions)
    rows += sorted(by_arm.values(), key=lambda row: -row['steps_score'])
  if not rows:
    return None
  return Table(
    'speed',
    'Time to target over conditions',
    'The area under the performance profile up to four times the fastest '
    'arm’s time (AlgoPerf’s score): 1 is the fastest under every condition, 0 '
    'never within four times of it.',
    (
      *('ruleset', 'arm', 'steps_score', 'seconds_score'),
      *('conditions_reached', 'conditions'),
    ),
    (
      plain('arm'),
      *(_score(name) for name in MEASURES),
      Column(
        'target reached',
        lambda row: f'{row["conditions_reached"]} of {row["conditions"]}',
        lambda row: row['conditions_reached'],
      ),
    ),
    rows,
    split=('ruleset',),
  )


TABLES['speed'] = speed


def _score(measure: str) -> Column:
  field = f'{measure}_score'
  return Column(
    f'score by {measure}',
    lambda row: f'{row[field]:.2f}',
    lambda row: row[field],
  )
