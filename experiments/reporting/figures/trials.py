"""How much the learning rate matters, and whether arms were tuned enough."""

from collections.abc import Iterator
import json

import numpy as np
import pandas as pd

from experiments.optimizers import LEARNING_RATE
from experiments.reporting import accuracies
from experiments.reporting.figures import kind
from experiments.reporting.plots import lines
from experiments.studies import frames
from experiments.studies.loading import Published

_RATES = lines.Scale('learning rate', '', log=True, ends=False)
_TRIALS = lines.Scale('trials', '', whole=True, steps=True)
_ABSENT = 'There are no tuning trials (trials.csv is missing or empty).'


@kind.register(
  50,
  'Learning-rate sensitivity',
  lambda study: (
    f'{accuracies.common(accuracies.tuned_in(study)).capitalize()} of the grid '
    'of learning rates, on one tuning seed, the other numbers at their '
    'defaults. A × marks a rate at which the arm diverged. Arms that do much '
    'worse than most lie below the picture.'
  ),
  _ABSENT,
)
def learning_rates(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that arms were tuned on."""
  budget = (study.study['definition'].get('tuning') or {}).get('budget', {})
  for condition, accuracy, rows in _trials(study):
    tuned = (study.study.get('tuning') or {}).get(condition, {})
    added = ('rates_added_below', 'rates_added_above')
    size = budget.get('rates', 0) + sum(tuned.get(x, 0) for x in added)
    # The trials of the grid come first.
    grid = rows[rows['trial'] < size].groupby('arm', sort=False)
    if len(grid):
      yield kind.of_lines(
        study,
        (condition,),
        f'{accuracy.capitalize()} of every arm against learning rate, '
        f'{condition}.',
        {arm: _rates(own) for arm, own in grid},
        _RATES._replace(y=f'{accuracy} (%)'),
        f'Learning-rate sensitivity: {condition}',
      )


@kind.register(
  60,
  'Tuned enough?',
  lambda study: (
    f'The best {accuracies.common(accuracies.tuned_in(study))} so far against '
    'the number of trials, on one tuning seed. A line that still climbs at the '
    'end would gain from more trials.'
  ),
  _ABSENT,
)
def tuning(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that arms were tuned on."""
  for condition, accuracy, rows in _trials(study):
    yield kind.of_lines(
      study,
      (condition,),
      f'Best {accuracy} of every arm against trials, {condition}.',
      {arm: _best(own) for arm, own in rows.groupby('arm', sort=False)},
      _TRIALS._replace(y=f'best {accuracy} (%)'),
      f'Best so far: {condition}',
    )


def _trials(study: Published) -> Iterator[tuple[str, str, pd.DataFrame]]:
  """By condition, what was tuned by, and the trials on the first seed.

  They have a `rate` and a `score`, the accuracy in percent, NaN if they
  diverged.
  """
  trials = study.trials[study.trials['seed'] == study.trials['seed'].min()]
  chosen = trials['hyperparameters'].map(json.loads)
  diverged = trials['status'] == frames.DIVERGED
  trials = trials.assign(
    rate=[float(x.get(LEARNING_RATE, 'nan')) for x in chosen],
    score=100 * trials['validation_accuracy'].where(~diverged),
  ).dropna(subset='rate')
  for condition, rows in trials.groupby('condition', sort=False):
    yield str(condition), accuracies.tuned_on(study, str(condition)), rows


def _rates(rows: pd.DataFrame) -> lines.Line:
  x, y = rows.sort_values('rate')[['rate', 'score']].to_numpy(float).T
  return lines.Line(x, y, crosses=tuple(x[np.isnan(y)].tolist()))


def _best(rows: pd.DataFrame) -> lines.Line:
  scores = rows.sort_values('trial')['score'].to_numpy(float)
  return lines.Line(1.0 + np.arange(len(scores)), np.fmax.accumulate(scores))
