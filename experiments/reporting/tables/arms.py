"""What the arms are."""

from experiments.reporting.plots import families
from experiments.reporting.tables.table import Column
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
      Column('arm', lambda row: row['arm']),
      Column('family', lambda row: row['family']),
      Column('what it is', lambda row: row['description']),
    ),
    rows,
  )


TABLES['arms'] = arms
