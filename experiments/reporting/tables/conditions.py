"""Under what conditions the arms are compared."""

import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import register
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.studies.loading import Published

_FIELDS = (
  *('dataset', 'model', 'fraction', 'label_noise', 'epochs', 'batch_size'),
  *('warmup_epochs', 'schedule', 'held_out'),
)
_OF_STREAMS = ('stream', 'tasks', 'updates', 'restart')
# Streams have tasks instead; their tables and measures need nothing held out.
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


@register
def conditions(study: Published) -> Table:
  """The conditions of the study that have results."""
  found = study.conditions.values()
  streamed = any(each.stream for each in found)
  epochs = not all(each.stream for each in found)
  fields = [*_FIELDS, *(_OF_STREAMS if streamed else ())]
  if not epochs:
    fields = [name for name in fields if name not in _OF_EPOCHS]
  rows = [
    {
      'condition': each.name,
      **{name: _value(each.task, name) for name in fields},
      'chance_percent': 100 * each.chance,
      'target_percent': 100 * (each.target or float('nan')),
    }
    for each in found
  ]
  target = numeric('target (validation, %)', 'target_percent', numbers.fixed)
  return Table(
    'The conditions',
    _NOTE + _HELD_OUT * epochs + _OF_STREAM * streamed,
    # Texts, so that whole numbers stay whole beside what is not there.
    pd.DataFrame(rows).astype(dict.fromkeys(fields, str)),
    (plain('condition'), *map(_column, fields), *([target] * epochs)),
  )


def _value(task: Row, name: str) -> object:
  left_out = _OF_EPOCHS if task.get('stream') else _OF_STREAMS
  value = None if name in left_out else task.get(name)
  return '' if value is None else value


def _column(name: str) -> Column:
  said = {'': numbers.NONE, 'True': 'yes', 'False': 'no'}
  heading = name.replace('_', ' ')
  return Column(heading, lambda row: said.get(row[name]) or row[name])
