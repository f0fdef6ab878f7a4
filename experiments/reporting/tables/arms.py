"""What the arms are, and which of them are not there yet."""

import pandas as pd

from experiments import optimizers
from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import register
from experiments.reporting.tables.table import Table
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY


@register
def arms(study: Published) -> Table:
  """What each arm is."""
  rows = []
  for family, names in families.grouped(study.results['arm'].unique()).items():
    for arm in names:
      found = optimizers.ARMS.get(arm)
      rows.append((arm, family, found.description if found else ''))
  return Table(
    'The arms',
    'The optimizers under comparison.',
    pd.DataFrame(rows, columns=['arm', 'family', 'description']),
    (plain('arm'), plain('family'), plain('what it is', 'description')),
  )


@register
def missing(study: Published) -> Table | None:
  """The arms of which not all seeds are there yet."""
  rows = study.summary[study.summary['seeds'] < study.summary['seeds_planned']]
  if rows.empty:
    return None
  return Table(
    'What is missing',
    'Arms of which not all seeds are there yet.',
    rows[[*IDENTITY, 'seeds', 'seeds_planned']],
    (
      *map(plain, IDENTITY),
      Column(
        'seeds',
        lambda row: numbers.of(row['seeds'], row['seeds_planned']),
        'seeds',
      ),
    ),
  )
