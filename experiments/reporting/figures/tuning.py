"""Whether the arms were tuned enough: the best so far against trials."""

from collections.abc import Iterator
import functools

import numpy as np

from experiments.reporting.figures import learning_rates
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import panels
from experiments.studies import accuracies
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_SCALE = panels.Scale('trials', '', whole=True, steps=True)


def _note(study: Published) -> str:
  return (
    f'The best {accuracies.common(accuracies.tuned_in(study))} so far against '
    'the number of trials, on one tuning seed. A line that still climbs at the '
    'end would gain from more trials.'
  )


@register(
  60,
  'Tuned enough?',
  _note,
  'There are no tuning trials (trials.csv is missing or empty).',
)
def tuning(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that arms were tuned on."""
  for condition, arms in learning_rates.first_seed(study).items():
    accuracy = accuracies.tuned(accuracies.tuning_task(study, condition))
    lines = {arm: _line(rows) for arm, rows in arms.items()}
    yield Drawing(
      (condition,),
      f'Best {accuracy} of every arm against trials, {condition}.',
      functools.partial(
        panels.draw,
        lines,
        study.arms,
        _SCALE._replace(y=f'best {accuracy} (%)'),
        f'Best so far: {condition}',
      ),
    )


def _line(rows: list[Row]) -> panels.Line:
  rows = sorted(rows, key=lambda row: row['trial'])
  scores = np.array([learning_rates.score(row) for row in rows], float)
  best = np.fmax.accumulate(scores)
  return panels.Line(1.0 + np.arange(len(best)), best)
