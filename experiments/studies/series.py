"""What the reported runs did epoch by epoch: `curves.csv` and `alpha.csv`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.studies import statistics
from experiments.studies.plan import Plan

_IDENTITY = ('condition', 'ruleset', 'arm', 'epoch')
CURVE_COLUMNS = (*_IDENTITY, 'steps', 'n', 'mean', 'ci_low', 'ci_high')
_MEASURES = (
  *('alpha_mean', 'alpha_std'),
  *('alpha_fraction_near_min', 'alpha_fraction_near_max'),
  *('gradient_norm', 'update_norm'),
)
ALPHA_COLUMNS = (*_IDENTITY, 'leaf', 'elements', *_MEASURES)


def curve_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every arm, condition, ruleset and epoch that is there.

  `mean` is that of the validation accuracy over the seeds, a fraction, with the
  95 % t interval from `ci_low` to `ci_high`, both empty with a single seed. An
  epoch at which a seed had diverged counts as chance. Where nothing was held
  out there are no rows.
  """
  for final, outcome in plan.reported():
    curves = outcome.curves.get('validation_accuracy')
    if curves is None:
      continue
    accuracies = np.array(curves, float)
    losses = np.array(outcome.curves['train_loss'], float)
    accuracies[~np.isfinite(losses)] = final.condition.chance
    # Whatever a seed did before, its result is chance if it diverged.
    accuracies[np.array(outcome.diverged), -1] = final.condition.chance
    mean = statistics.mean_difference(accuracies)
    low, high = statistics.t_interval(accuracies)
    for i in range(accuracies.shape[1]):
      yield {
        **final.identity,
        'epoch': i + 1,
        'steps': (i + 1) * outcome.steps_per_epoch,
        'n': len(accuracies),
        'mean': short(mean[i]),
        'ci_low': short(low[i]),
        'ci_high': short(high[i]),
      }


def alpha_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every arm with an α, condition, ruleset, epoch and leaf.

  They say what the last update of the epoch did, as means over the seeds that
  stayed finite.
  """
  for final, outcome in plan.reported():
    alpha = outcome.alpha
    if alpha is None:
      continue
    for i in range(len(alpha[_MEASURES[0]])):
      for j, leaf in enumerate(alpha['leaves']):
        yield {
          **final.identity,
          'epoch': i + 1,
          'leaf': leaf,
          'elements': alpha['elements'][j],
          **{name: short(alpha[name][i][j]) for name in _MEASURES},
        }


def short(x: float | None) -> str:
  """Six digits, which no picture tells from more; empty where not finite."""
  return f'{x:.6g}' if x is not None and np.isfinite(x) else ''
