"""What tables of streams share: measures as mean ± sd over seeds."""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting import numbers
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.studies import results
from experiments.studies import statistics
from experiments.studies.reading import Group
from experiments.studies.reading import Published

_COUNTS = ('seeds', 'seeds_planned', 'seeds_diverged')


class Spread(NamedTuple):
  """A mean over seeds; both are NaN where they cannot be.

  Attributes:
    mean: the mean.
    sd: the standard deviation.
  """

  mean: float
  sd: float


class Quantity(NamedTuple):
  """A column of such a table.

  Attributes:
    name: of the measure.
    heading: what stands above.
    factor: what a person sees its values times.
    digits: how many behind the point.
    signed: whether a plus is written, too.
  """

  name: str
  heading: str
  factor: float = 1
  digits: int = 2
  signed: bool = False

  def text(self, value: Spread) -> str:
    """How a person reads the mean and standard deviation of its values."""
    mean, sd = (self.factor * x for x in value)
    if math.isnan(mean):
      return numbers.NONE
    sign, form = '+' if self.signed else '', f'.{self.digits}f'
    found = f'{mean:{sign}{form}}'.replace('-', '−')
    return found if math.isnan(sd) else f'{found} ± {sd:{form}}'


class Measured(NamedTuple):
  """What streams.csv says of an arm under a condition and ruleset.

  Attributes:
    values: by measure, by seed, those of the seeds that stayed finite.
    diverged: how many seeds did not.
  """

  values: dict[str, dict[int, float]]
  diverged: set[int]

  @property
  def finite(self) -> int:
    """Of how many seeds there is something."""
    return len({seed for each in self.values.values() for seed in each})

  def spread(self, name: str) -> Spread:
    """The mean of a measure over seeds."""
    return spread(self.values.get(name, {}).values())

  def change(self, first: str, last: str) -> Spread:
    """The mean over seeds of what one measure is above another."""
    before, after = (self.values.get(name, {}) for name in (first, last))
    return spread(after[x] - before[x] for x in after.keys() & before.keys())


def spread(values: Any) -> Spread:
  """The mean and the standard deviation of numbers."""
  x = np.array([*values], float)
  if not len(x):
    return Spread(math.nan, math.nan)
  return Spread(float(x.mean()), float(statistics.sd(x)))


def measured(study: Published) -> dict[Group, dict[str, Measured]]:
  """By condition and ruleset, by arm; arms without a seed are not there."""
  found: dict[Group, dict[str, Measured]] = {}
  for row in study.streams:
    arms = found.setdefault((row['condition'], row['ruleset']), {})
    each = arms.setdefault(row['arm'], Measured({}, set()))
    if row['status'] == results.DIVERGED:
      each.diverged.add(row['seed'])
    elif not math.isnan(row['value']):
      each.values.setdefault(row['measure'], {})[row['seed']] = row['value']
  return {group: found[group] for group in study.planned if group in found}


def row(
  study: Published,
  group: Group,
  arm: str,
  each: Measured,
  spreads: Mapping[str, Spread],
) -> dict[str, Any]:
  """A row of such a table.

  Args:
    study: the study.
    group: the condition and ruleset.
    arm: the arm.
    each: what was measured of it.
    spreads: by measure, as they are recorded.

  Returns:
    The row.
  """
  counts = (each.finite, study.planned[group][arm], len(each.diverged))
  found: dict[str, Any] = {
    'condition': group[0],
    'ruleset': group[1],
    'arm': arm,
    **dict(zip(_COUNTS, counts, strict=True)),
  }
  for name, value in spreads.items():
    found |= {name: value.mean, f'{name}_sd': value.sd}
  return found


def table(
  name: str,
  title: str,
  note: str,
  quantities: Sequence[Quantity],
  rows: Sequence[Row],
) -> Table | None:
  """Such a table, the best arms first; None without rows.

  Args:
    name: of its files.
    title: what it shows.
    note: how to read it.
    quantities: the columns. The first is what rows are sorted by; those that
      no row has are left out.
    rows: those of `row`, by group.

  Returns:
    The table.
  """
  if not rows:
    return None
  there = [
    each
    for each in quantities
    if not all(math.isnan(row[each.name]) for row in rows)
  ]
  return Table(
    name,
    title,
    note,
    (
      *('condition', 'ruleset', 'arm', *_COUNTS),
      *(f'{each.name}{end}' for each in there for end in ('', '_sd')),
    ),
    (
      plain('arm'),
      *map(_column, there),
      Column('seeds', _seeds, lambda row: row['seeds']),
    ),
    _sorted(rows, quantities[0].name),
    split=('condition', 'ruleset'),
  )


def _sorted(rows: Sequence[Row], name: str) -> list[Row]:
  """The rows of each group, the largest of a measure first, NaN last."""
  groups = [*dict.fromkeys((row['condition'], row['ruleset']) for row in rows)]
  return sorted(
    rows,
    key=lambda row: (
      groups.index((row['condition'], row['ruleset'])),
      math.isnan(row[name]),
      -row[name],
    ),
  )


def _column(each: Quantity) -> Column:
  def text(row: Row) -> str:
    return each.text(Spread(row[each.name], row[f'{each.name}_sd']))

  return Column(each.heading, text, lambda row: row[each.name])


def _seeds(row: Row) -> str:
  there, planned = row['seeds'], row['seeds_planned']
  text = str(there) if there == planned else f'{there} of {planned}'
  if row['seeds_diverged']:
    text += f', {row["seeds_diverged"]} diverged'
  return text
