"""The numbers to keep, where arms were tuned under several conditions."""

import json
from typing import Any

from experiments.optimizers import LEARNING_RATE
from experiments.reporting import numbers
from experiments.reporting.tables import tuned
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import accuracies
from experiments.studies import stable as values
from experiments.studies.reading import Published

_FIELDS = (
  *('arm', 'learning_rate', 'hyperparameters', 'accuracy', 'regret'),
  'stable',
)


def stable(study: Published) -> Table | None:
  """The values that are good wherever an arm was tuned, the best arm first."""
  if len({row['condition'] for row in study.trials}) < 2:
    return None
  accuracy = accuracies.common(accuracies.tuned_in(study))
  rows = [_row(value) for value in values.values(study.trials).values()]
  rows.sort(key=lambda row: -row['accuracy'])
  return Table(
    'stable',
    'Stable values',
    'Of the numbers that were tried under all conditions that an arm was tuned '
    'on, those whose distance from the best of its trials, where it is '
    'largest, is smallest; numbers that are not named keep their defaults. '
    'They are stable if that is within '
    f'{numbers.short(100 * values.TOLERANCE)} points. {accuracy.capitalize()}, '
    'mean over the tuning conditions, of one seed.',
    _FIELDS,
    (
      plain('arm'),
      numeric('learning rate', 'learning_rate', numbers.short),
      Column('other numbers', tuned.others),
      numeric(f'{accuracy} (%)', 'accuracy', numbers.percent),
      numeric('farthest from the best (points)', 'regret', numbers.percent),
      Column('stable', lambda row: 'yes' if row['stable'] else 'no'),
    ),
    rows,
  )


TABLES['stable'] = stable


def _row(value: values.Value) -> dict[str, Any]:
  chosen = values.named(value)
  return {
    **value._asdict(),
    'learning_rate': chosen[LEARNING_RATE],
    'hyperparameters': json.dumps(chosen),
  }
