"""What one change of the method does: each variant against the whole."""

from collections.abc import Iterator

from experiments.reporting.plots import families
from experiments.reporting.tables import differences
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import comparisons
from experiments.studies.reading import Published
from experiments.studies.reading import Row

# Where it is not, there is nothing to ablate.
_WHOLE = 'full'
_CHANGED = (families.NEUROPLASTIC, families.CONTROLS, families.SIGNALS)


def rows(study: Published) -> Iterator[Row]:
  """The comparisons of the variants with the whole."""
  for condition in study.conditions.values():
    own = [
      row
      for row in study.rows_of(condition.name)
      if families.of(row['arm']) in _CHANGED
    ]
    if any(row['arm'] == _WHOLE for row in own):
      yield from comparisons.rows(own, condition.chance, (_WHOLE,))


def ablation(study: Published) -> Table | None:
  """The one-change ablation."""
  found = [differences.in_points(row) for row in rows(study)]
  if not found:
    return None
  return Table(
    'ablation',
    'One change at a time',
    'Each variant of the method minus the whole method, over the seeds that '
    'both have; Holm’s procedure over the variants of a condition and ruleset. '
    'Below zero, the change costs accuracy.',
    differences.FIELDS,
    differences.COLUMNS,
    found,
    split=('condition', 'ruleset'),
  )


TABLES['ablation'] = ablation
