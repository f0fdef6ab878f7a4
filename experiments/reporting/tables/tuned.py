"""The numbers that the tuner chose."""

from collections.abc import Iterator
import json
from typing import Any

from experiments.optimizers import LEARNING_RATE
from experiments.reporting import numbers
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import accuracies
from experiments.studies.reading import Published

_FIELDS = ('condition', 'arm', 'learning_rate', 'hyperparameters')


def tuned(study: Published) -> Table | None:
  """The tuned numbers of every arm, by the condition that it was tuned on."""
  found = list(_rows(study))
  if not found:
    return None
  return Table(
    'tuned',
    'Tuned numbers',
    f'What the tuner chose {_where(study)}. Numbers that are not named keep '
    'their defaults.',
    _FIELDS,
    (
      plain('arm'),
      numeric('learning rate', 'learning_rate', numbers.short),
      Column('other numbers', others),
    ),
    found,
    split=('condition',),
  )


TABLES['tuned'] = tuned


def _rows(study: Published) -> Iterator[dict[str, Any]]:
  for condition, found in (study.study.get('tuning') or {}).items():
    for arm, chosen in (found.get('numbers') or {}).items():
      yield {
        'condition': condition,
        'arm': arm,
        'learning_rate': float(chosen.get(LEARNING_RATE, float('nan'))),
        'hyperparameters': json.dumps(chosen),
      }


def _where(study: Published) -> str:
  """On what; online accuracy needs no images that are held out."""
  found = accuracies.tuned_in(study)
  if accuracies.ONLINE not in found:
    return 'on held-out training data'
  if len(found) == 1:
    return 'by the online accuracy of seeds that are not reported'
  return (
    'by the online accuracy of seeds that are not reported or, where tasks '
    'are not judged by it, on held-out training data'
  )


def others(row: Row) -> str:
  """The numbers of a row besides the learning rate."""
  chosen = json.loads(row['hyperparameters'])
  return ', '.join(
    f'{name} {numbers.short(float(x))}'
    for name, x in chosen.items()
    if name != LEARNING_RATE
  )
