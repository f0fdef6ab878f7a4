"""Every arm against every reference, and every variant against the whole."""

import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import register
from experiments.reporting.tables.table import Table
from experiments.studies import comparisons
from experiments.studies.loading import Published

# Where it is not, there is nothing to ablate.
_WHOLE = 'full'
_POINTS = ('mean_difference', 'ci_low', 'ci_high')
_COLUMNS = (
  plain('arm'),
  plain('reference'),
  numeric('pairs', 'n', str),
  Column(
    'difference (points)',
    lambda row: numbers.difference(*(row[f'{x}_points'] for x in _POINTS)),
    'mean_difference_points',
  ),
  numeric('p', 'p', numbers.p_value),
  numeric('p (Holm)', 'p_holm', numbers.p_value),
  numeric('effect size d', 'effect_size', lambda x: numbers.short(x, 2)),
  numeric('seeds needed', 'seeds_needed', numbers.count),
)


@register
def differences(study: Published) -> Table | None:
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


@register
def ablation(study: Published) -> Table | None:
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


def _table(rows: pd.DataFrame, title: str, note: str) -> Table | None:
  if rows.empty:
    return None
  # In points, for people.
  scaled = rows.assign(**{name: 100 * rows[name] for name in _POINTS})
  data = scaled.rename(columns={name: f'{name}_points' for name in _POINTS})
  return Table(title, note, data, _COLUMNS, split=('condition', 'ruleset'))
