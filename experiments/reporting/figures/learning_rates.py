"""How much the learning rate matters to every arm."""

from collections.abc import Iterator
import functools

import numpy as np

from experiments.optimizers import LEARNING_RATE
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import panels
from experiments.studies import accuracies
from experiments.studies import results
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_SCALE = panels.Scale('learning rate', '', log=True, ends=False)


def _note(study: Published) -> str:
  accuracy = accuracies.common(accuracies.tuned_in(study))
  return (
    f'{accuracy.capitalize()} of the grid of learning rates, on one tuning '
    'seed, the other numbers at their defaults. A × marks a rate at which the '
    'arm diverged. Arms that do much worse than most lie below the picture.'
  )


@register(
  50,
  'Learning-rate sensitivity',
  _note,
  'There are no tuning trials (trials.csv is missing or empty).',
)
def learning_rates(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that arms were tuned on."""
  for condition, arms in grids(study).items():
    accuracy = accuracies.tuned(accuracies.tuning_task(study, condition))
    lines = {arm: _line(rows) for arm, rows in arms.items()}
    yield Drawing(
      (condition,),
      f'{accuracy.capitalize()} of every arm against learning rate, '
      f'{condition}.',
      functools.partial(
        panels.draw,
        lines,
        study.arms,
        _SCALE._replace(y=f'{accuracy} (%)'),
        f'Learning-rate sensitivity: {condition}',
      ),
    )


def grids(study: Published) -> dict[str, dict[str, list[Row]]]:
  """By tuning condition and arm, the trials of the grid on the first seed."""
  budget = (study.study['definition'].get('tuning') or {}).get('budget', {})
  found: dict[str, dict[str, list[Row]]] = {}
  for condition, arms in first_seed(study).items():
    tuned = (study.study.get('tuning') or {}).get(condition, {})
    added = ('rates_added_below', 'rates_added_above')
    size = budget.get('rates', 0) + sum(tuned.get(x, 0) for x in added)
    # The trials of the grid come first.
    found[condition] = {
      arm: kept
      for arm, rows in arms.items()
      if (kept := [row for row in rows if row['trial'] < size])
    }
  return {name: arms for name, arms in found.items() if arms}


def first_seed(study: Published) -> dict[str, dict[str, list[Row]]]:
  """By tuning condition and arm, the trials on the first tuning seed."""
  first = min((row['seed'] for row in study.trials), default=0)
  found: dict[str, dict[str, list[Row]]] = {}
  for row in study.trials:
    if row['seed'] == first and LEARNING_RATE in row['hyperparameters']:
      arms = found.setdefault(row['condition'], {})
      arms.setdefault(row['arm'], []).append(row)
  return found


def score(row: Row) -> float:
  """The accuracy of a trial in percent; NaN where it diverged."""
  if row['status'] == results.DIVERGED:
    return float('nan')
  return 100 * row['validation_accuracy']


def _line(rows: list[Row]) -> panels.Line:
  rate = lambda row: row['hyperparameters'][LEARNING_RATE]
  rows = sorted(rows, key=rate)
  y = np.array([score(row) for row in rows], float)
  x = np.array([rate(row) for row in rows], float)
  return panels.Line(x, y, crosses=tuple(x[np.isnan(y)].tolist()))
