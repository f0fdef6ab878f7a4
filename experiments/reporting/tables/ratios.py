"""How fast or exact arms are over conditions: scores of profiles."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.tables import table
from experiments.studies import profiles
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

TIMES, ERROR = ('steps', 'seconds'), 'error'
MEASURES = (*TIMES, ERROR)
# A profile over fewer conditions says nothing.
_FEW = 2
# A smaller error counts as this: what is nothing has no multiple.
_SMALLEST = 1e-4


def costs(study: Published, ruleset: str, measure: str) -> pd.DataFrame | None:
  """The medians over seeds, [arms, conditions], that a profile is made of.

  An arm that is not there under every condition would remove conditions for
  all of them, so it is left out.

  They are steps or seconds to the target, ∞ for a miss, under the conditions
  that have a target; or the error, 1 − accuracy, on the streams. None is where
  there is too little for a profile.
  """
  own = study.summary[study.summary['ruleset'] == ruleset]
  if measure == ERROR:
    streamed = [x.name for x in study.conditions.values() if x.stream]
    median = study.finals.groupby(IDENTITY)['accuracy'].median()
    error = (1 - median).clip(lower=_SMALLEST).rename(ERROR)
    own = own[own['condition'].isin(streamed)].join(error, on=IDENTITY)
  found = own.pivot(index='arm', columns='condition', values=measure)
  there = found.notna()
  # Grids of conditions may have a few arms of their own.
  kept = 2 * there.sum() > len(found)
  whole = there.loc[:, kept].all(axis=1)
  if kept.sum() < _FEW or not whole.any():
    return None
  return found.loc[whole, kept]


@table.register
def speed(study: Published) -> table.Table | None:
  """The scores by time to target, by ruleset."""
  rows: dict[tuple[str, str], dict[str, Any]] = {}
  for ruleset, measure, found in _costs(study, TIMES):
    reached = np.isfinite(found).sum(axis=1)
    score = profiles.score(found)
    for arm, each, count in zip(found.index, score, reached, strict=True):
      row = rows.setdefault((ruleset, arm), {'ruleset': ruleset, 'arm': arm})
      row[f'{measure}_score'] = each
      row |= {'conditions_reached': count, 'conditions': found.shape[1]}
  if not rows:
    return None
  data = table.best_first(
    pd.DataFrame(rows.values()), 'steps_score', ['ruleset']
  )
  counts = ['conditions_reached', 'conditions']
  return table.Table(
    'Time to target over conditions',
    'The area under the performance profile up to four times the fastest '
    'arm’s time (AlgoPerf’s score): 1 is the fastest under every condition, 0 '
    'never within four times of it.',
    data[['ruleset', 'arm', *(f'{x}_score' for x in TIMES), *counts]],
    (
      table.plain('arm'),
      *(
        table.numeric(f'score by {x}', f'{x}_score', numbers.fixed)
        for x in TIMES
      ),
      table.Column(
        'target reached',
        lambda row: ' of '.join(str(row[name]) for name in counts),
        'conditions_reached',
      ),
    ),
    split=('ruleset',),
  )


@table.register
def errors(study: Published) -> table.Table | None:
  """The scores by error on streams, by ruleset."""
  parts = [
    pd.DataFrame(
      {
        'ruleset': ruleset,
        'arm': found.index,
        'score': profiles.score(found),
        'largest_ratio': profiles.ratios(found).max(axis=1),
        'streams': found.shape[1],
      }
    )
    for ruleset, _, found in _costs(study, [ERROR])
  ]
  if not parts:
    return None
  data = pd.concat(parts, ignore_index=True)
  return table.Table(
    'Errors over streams',
    'The error is what the accuracy lacks of 100 %, in the median over seeds. '
    'The score is the area under the performance profile up to four times the '
    'error of the best arm: 1 is the best on every stream, 0 never within four '
    'times of it.',
    table.best_first(data, 'score', ['ruleset']),
    (
      table.plain('arm'),
      table.numeric('score', 'score', numbers.fixed),
      table.numeric('at worst, times the best', 'largest_ratio', numbers.short),
      table.numeric('streams', 'streams', str),
    ),
    split=('ruleset',),
  )


def _costs(
  study: Published, measures: Any
) -> Iterator[tuple[str, str, pd.DataFrame]]:
  for ruleset in study.summary['ruleset'].unique():
    for measure in measures:
      found = costs(study, ruleset, measure)
      if found is not None:
        yield ruleset, measure, found
