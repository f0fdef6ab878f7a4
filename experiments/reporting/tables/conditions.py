"""Under what conditions the arms are compared."""

from experiments.reporting import numbers
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies.reading import Published

_FIELDS = (
  *('dataset', 'model', 'fraction', 'label_noise', 'epochs', 'batch_size'),
  *('warmup_epochs', 'schedule', 'held_out'),
)


def conditions(study: Published) -> Table:
  """The conditions of the study that have results."""
  rows = [
    {
      'condition': each.name,
      **{name: each.task.get(name) for name in _FIELDS},
      'chance_percent': 100 * each.chance,
      'target_percent': 100 * (each.target or float('nan')),
    }
    for each in study.conditions.values()
  ]
  return Table(
    'conditions',
    'The conditions',
    'What is learned, and for how long. Where no part of the training data is '
    'held out, there are no curves and no target.',
    ('condition', *_FIELDS, 'chance_percent', 'target_percent'),
    (
      plain('condition'),
      *(_column(name) for name in _FIELDS),
      Column(
        'target (validation, %)',
        lambda row: numbers.percent(row['target_percent'] / 100),
        lambda row: row['target_percent'],
      ),
    ),
    rows,
  )


TABLES['conditions'] = conditions


def _column(name: str) -> Column:
  def text(row):
    value = row[name]
    if isinstance(value, bool):
      return 'yes' if value else 'no'
    return numbers.NONE if value is None else str(value)

  return Column(name.replace('_', ' '), text)
