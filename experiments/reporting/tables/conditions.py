"""Under what conditions the arms are compared."""

from collections.abc import Sequence
from typing import Any

from experiments.reporting import numbers
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies.reading import Condition
from experiments.studies.reading import Published

_FIELDS = (
  *('dataset', 'model', 'fraction', 'label_noise', 'epochs', 'batch_size'),
  *('warmup_epochs', 'schedule', 'held_out'),
)
_OF_STREAMS = ('stream', 'tasks', 'updates', 'restart')
# Of these, a stream has tasks; its tables and measures need nothing held out.
_OF_EPOCHS = ('epochs', 'held_out')
_NOTE = 'What is learned, and for how long.'
_HELD_OUT = (
  ' Where no part of the training data is held out, there are no curves and no '
  'target.'
)
_OF_STREAM = (
  ' Streams have tasks instead of epochs, and the warm-up is counted in tasks. '
  'Where nothing is said of updates, a task has as many as the stream was '
  'published with. With a restart, every task begins with a new network.'
)


def conditions(study: Published) -> Table:
  """The conditions of the study that have results."""
  found = study.conditions.values()
  streamed = any(each.stream for each in found)
  fields = _FIELDS + _OF_STREAMS * streamed
  epochs = not all(each.stream for each in found)
  if not epochs:
    fields = tuple(name for name in fields if name not in _OF_EPOCHS)
  rows = [_row(each, fields) for each in found]
  targets = (
    Column(
      'target (validation, %)',
      lambda row: numbers.percent(row['target_percent'] / 100),
      lambda row: row['target_percent'],
    ),
  )
  return Table(
    'conditions',
    'The conditions',
    _NOTE + _HELD_OUT * epochs + _OF_STREAM * streamed,
    ('condition', *fields, 'chance_percent', 'target_percent'),
    (
      plain('condition'),
      *(_column(name) for name in fields),
      *(targets if epochs else ()),
    ),
    rows,
  )


TABLES['conditions'] = conditions


def _row(each: Condition, fields: Sequence[str]) -> dict[str, Any]:
  left_out = _OF_EPOCHS if each.stream else _OF_STREAMS
  return {
    'condition': each.name,
    **{
      name: None if name in left_out else each.task.get(name) for name in fields
    },
    'chance_percent': 100 * each.chance,
    'target_percent': 100 * (each.target or float('nan')),
  }


def _column(name: str) -> Column:
  def text(row):
    value = row[name]
    if isinstance(value, bool):
      return 'yes' if value else 'no'
    return numbers.NONE if value is None else str(value)

  return Column(name.replace('_', ' '), text)
