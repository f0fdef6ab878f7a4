"""What an incomplete study lacks."""

from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import summaries
from experiments.studies.reading import Published

_FIELDS = ('condition', 'ruleset', 'arm', 'seeds', 'seeds_planned')


def missing(study: Published) -> Table | None:
  """The arms of which seeds are missing."""
  rows = [
    {
      'condition': each.condition,
      'ruleset': each.ruleset,
      'arm': each.arm,
      'seeds': each.n,
      'seeds_planned': each.planned,
    }
    for each in summaries.of(study)
    if each.missing
  ]
  if not rows:
    return None
  return Table(
    'missing',
    'What is missing',
    'Arms of which not all seeds are there yet.',
    _FIELDS,
    (
      plain('condition'),
      plain('ruleset'),
      plain('arm'),
      Column(
        'seeds',
        lambda row: f'{row["seeds"]} of {row["seeds_planned"]}',
        lambda row: row['seeds'],
      ),
    ),
    rows,
  )


TABLES['missing'] = missing
