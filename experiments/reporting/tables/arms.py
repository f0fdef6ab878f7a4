"""What the arms are."""

from experiments.reporting.plots import families
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies.reading import Published


def arms(study: Published) -> Table:
  """What each arm is."""
  names = dict.fromkeys(row['arm'] for row in study.results)
  rows = [
    {'arm': arm, 'family': family, 'description': families.description(arm)}
    for family, members in families.grouped(names).items()
    for arm in members
  ]
  return Table(
    'arms',
    'The arms',
    'The optimizers under comparison.',
    ('arm', 'family', 'description'),
    (
      plain('arm'),
      plain('family'),
      plain('what it is', 'description'),
    ),
    rows,
  )


TABLES['arms'] = arms
