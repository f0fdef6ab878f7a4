"""Every arm against every reference: `comparisons.csv`, for people."""

from experiments.reporting import numbers
from experiments.reporting.tables import summary
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import comparisons
from experiments.studies.reading import Published
from experiments.studies.reading import Row

# As they are in `comparisons.csv`, but for these, which are in points.
_POINTS = ('mean_difference', 'ci_low', 'ci_high')
FIELDS = tuple(
  f'{name}_points' if name in _POINTS else name for name in comparisons.COLUMNS
)
COLUMNS = (
  plain('arm'),
  plain('reference'),
  numeric('pairs', 'n', str),
  Column(
    'difference (points)',
    lambda row: summary.difference(*(row[name] for name in _POINTS)),
    lambda row: row['mean_difference'],
  ),
  numeric('p', 'p', numbers.p_value),
  numeric('p (Holm)', 'p_holm', numbers.p_value),
  Column(
    'effect size d',
    lambda row: numbers.short(row['effect_size'], 2),
    lambda row: row['effect_size'],
  ),
  numeric('seeds needed', 'seeds_needed', numbers.count),
)


def differences(study: Published) -> Table | None:
  """The paired differences."""
  if not study.comparisons:
    return None
  return Table(
    'differences',
    'Paired differences',
    'Arm minus reference over the seeds that both have: mean and 95 % t '
    'interval, two-sided paired t test, Holm’s procedure over the arms of a '
    'condition and ruleset for each reference, Cohen’s d of the differences, '
    'and how many seeds it takes to see such a difference (at 5 %, with 80 % '
    'power).',
    FIELDS,
    COLUMNS,
    [in_points(row) for row in study.comparisons],
    split=('condition', 'ruleset'),
  )


TABLES['differences'] = differences


def in_points(row: Row) -> Row:
  """A row of `comparisons.csv`, with its differences in points, too."""
  return {**row, **{f'{name}_points': 100 * row[name] for name in _POINTS}}
