"""Every arm against every reference, and every variant against the whole."""

import math

import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables import table
from experiments.studies import comparisons
from experiments.studies.loading import Published

# Where it is not, there is nothing to ablate.
_WHOLE = 'full'
_POINTS = ('mean_difference', 'ci_low', 'ci_high')
_COLUMNS = (
  table.plain('arm'),
  table.plain('reference'),
  table.numeric('pairs', 'n', str),
  table.Column(
    'difference (points)',
    lambda row: numbers.difference(*(row[f'{x}_points'] for x in _POINTS)),
    'mean_difference_points',
  ),
  table.numeric('p', 'p', numbers.p_value),
  table.numeric('p (Holm)', 'p_holm', numbers.p_value),
  table.numeric('effect size d', 'effect_size', lambda x: numbers.short(x, 2)),
  table.numeric('seeds needed', 'seeds_needed', numbers.count),
)


@table.register
def differences(study: Published) -> table.Table | None:
  """The paired differences of `comparisons.csv`."""
  return _table(
    study.comparisons,
    'Paired differences',
    'Arm minus reference over the seeds that both have: mean and 95 % t '
    'interval, two-sided paired t test, Holm’s procedure over the arms of a '
    'condition and ruleset for each reference, Cohen’s d of the differences, '
    'and how many seeds it takes to see such a difference (at 5 %, with 80 % '
    'power).',
  )


@table.register
def ablation(study: Published) -> table.Table | None:
  """The one-change ablation."""
  return _table(
    of_variants(study),
    'One change at a time',
    'Each variant of the method minus the whole method, over the seeds that '
    'both have; Holm’s procedure over the variants of a condition and ruleset. '
    'Below zero, the change costs accuracy.',
  )


def of_variants(study: Published) -> pd.DataFrame:
  """The comparisons of the variants with the whole, as `comparisons.csv`."""
  variants = study.results['arm'].map(families.of).isin(families.VARIANTS)
  own = study.results[variants]
  return pd.concat(
    comparisons.compare(own[own['condition'] == name], [_WHOLE])
    for name in study.conditions
  )


def _table(rows: pd.DataFrame, title: str, note: str) -> table.Table | None:
  if rows.empty:
    return None
  # In points, for people.
  points = {f'{name}_points': 100 * rows[name] for name in _POINTS}
  whole = lambda x: int(x) if math.isfinite(x) else x
  needed = rows['seeds_needed'].astype(object).map(whole)
  data = rows.rename(columns={name: f'{name}_points' for name in _POINTS})
  data = data.assign(seeds_needed=needed, **points)
  return table.Table(title, note, data, _COLUMNS, ('condition', 'ruleset'))
