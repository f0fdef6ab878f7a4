"""What one change of the method does: each variant against the whole."""

from collections.abc import Iterator

from experiments.reporting.plots import families
from experiments.reporting.tables import differences
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import comparisons
from experiments.studies.reading import Published
from experiments.studies.reading import Row

# The first that a study has; else there is nothing to ablate.
_WHOLE = ('full', comparisons.REFERENCES[0])
_CHANGED = (families.NEUROPLASTIC, families.CONTROLS, families.SIGNALS)


def rows(study: Published) -> Iterator[Row]:
  """The comparisons of the variants with the whole."""
  for condition in study.conditions.values():
    own = [
      row
      for row in study.rows_of(condition.name)
      if families.of(row['arm']) in _CHANGED or row['arm'] in _WHOLE
    ]
    arms = {row['arm'] for row in own}
    whole = next((arm for arm in _WHOLE if arm in arms), None)
    if whole is None:
      continue
    for row in comparisons.rows(own, condition.chance, (whole,)):
      if families.of(row['arm']) in _CHANGED:
        yield row


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
