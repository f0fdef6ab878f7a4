"""What is compared, under what conditions, and what is not there yet."""

import pandas as pd

from experiments import optimizers
from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables import table
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

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


@table.register
def arms(study: Published) -> table.Table:
  """What each arm is."""
  rows = []
  for family, names in families.grouped(study.results['arm'].unique()).items():
    for arm in names:
      found = optimizers.ARMS.get(arm)
      rows.append((arm, family, found.description if found else ''))
  return table.Table(
    'The arms',
    'The optimizers under comparison.',
    pd.DataFrame(rows, columns=['arm', 'family', 'description']),
    (
      table.plain('arm'),
      table.plain('family'),
      table.plain('what it is', 'description'),
    ),
  )


@table.register
def missing(study: Published) -> table.Table | None:
  """The arms of which not all seeds are there yet."""
  rows = study.summary[study.summary['seeds'] < study.summary['seeds_planned']]
  if rows.empty:
    return None
  return table.Table(
    'What is missing',
    'Arms of which not all seeds are there yet.',
    rows[[*IDENTITY, 'seeds', 'seeds_planned']],
    (*map(table.plain, IDENTITY), table.SEEDS),
  )


@table.register
def conditions(study: Published) -> table.Table:
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
  target = table.numeric(
    'target (validation, %)', 'target_percent', numbers.fixed
  )
  return table.Table(
    'The conditions',
    _NOTE + _HELD_OUT * epochs + _OF_STREAM * streamed,
    # Texts, so that whole numbers stay whole beside what is not there.
    pd.DataFrame(rows).astype(dict.fromkeys(fields, str)),
    (table.plain('condition'), *map(_column, fields), *([target] * epochs)),
  )


def _value(task: table.Row, name: str) -> object:
  left_out = _OF_EPOCHS if task.get('stream') else _OF_STREAMS
  value = None if name in left_out else task.get(name)
  return '' if value is None else value


def _column(name: str) -> table.Column:
  said = {'': numbers.NONE, 'True': 'yes', 'False': 'no'}
  heading = name.replace('_', ' ')
  return table.Column(heading, lambda row: said.get(row[name]) or row[name])
