"""The hyperparameters that the tuner chose, and those to keep everywhere."""

import json

import pandas as pd

from experiments.optimizers import LEARNING_RATE
from experiments.reporting import accuracies
from experiments.reporting import numbers
from experiments.reporting.tables import table
from experiments.studies import stable as values
from experiments.studies.loading import Published


def _others(row: table.Row) -> str:
  """The hyperparameters of a row besides the learning rate."""
  chosen = json.loads(row['hyperparameters'])
  return ', '.join(
    f'{name} {numbers.short(float(x))}'
    for name, x in chosen.items()
    if name != LEARNING_RATE
  )


_CHOSEN = (
  table.plain('arm'),
  table.numeric('learning rate', 'learning_rate', numbers.short),
  table.Column('other numbers', _others),
)


@table.register
def tuned(study: Published) -> table.Table | None:
  """The tuned numbers of every arm, by the condition that it was tuned on."""
  rows = [
    {
      'condition': condition,
      'arm': arm,
      'learning_rate': float(chosen.get(LEARNING_RATE, 'nan')),
      'hyperparameters': json.dumps(chosen),
    }
    for condition, found in (study.study.get('tuning') or {}).items()
    for arm, chosen in (found.get('numbers') or {}).items()
  ]
  if not rows:
    return None
  return table.Table(
    'Tuned numbers',
    f'What the tuner chose {_where(study)}. Numbers that are not named keep '
    'their defaults.',
    pd.DataFrame(rows),
    _CHOSEN,
    split=('condition',),
  )


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


@table.register
def stable(study: Published) -> table.Table | None:
  """The values that are good wherever an arm was tuned, the best arm first."""
  if study.trials['condition'].nunique() < 2:
    return None
  accuracy = accuracies.common(accuracies.tuned_in(study))
  data = values.keep(study.trials).sort_values(
    'accuracy', ascending=False, kind='stable'
  )
  chosen = [values.named(each) for each in data.itertuples()]
  data.insert(1, 'learning_rate', [each[LEARNING_RATE] for each in chosen])
  data['hyperparameters'] = [json.dumps(each) for each in chosen]
  return table.Table(
    'Stable values',
    'Of the numbers that were tried under all conditions that an arm was tuned '
    'on, those whose distance from the best of its trials, where it is '
    'largest, is smallest; numbers that are not named keep their defaults. '
    'They are stable if that is within '
    f'{numbers.short(100 * values.TOLERANCE)} points. {accuracy.capitalize()}, '
    'mean over the tuning conditions, of one seed.',
    data,
    (
      *_CHOSEN,
      table.numeric(f'{accuracy} (%)', 'accuracy', _percent),
      table.numeric('farthest from the best (points)', 'regret', _percent),
      table.Column('stable', lambda row: 'yes' if row['stable'] else 'no'),
    ),
  )


def _percent(fraction: float) -> str:
  return numbers.fixed(100 * fraction)
