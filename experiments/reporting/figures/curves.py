"""How the arms learn, epoch by epoch."""

from collections.abc import Iterator
import functools

import numpy as np

from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import panels
from experiments.studies import accuracies
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_SCALE = panels.Scale('epoch', 'validation accuracy (%)', whole=True)


def _absent(study: Published) -> str:
  if accuracies.TEST not in accuracies.compared_in(study):
    return ''  # Streams have no epochs; they are drawn task by task.
  return (
    'There are no curves: nothing was held out to measure them on, or '
    'curves.csv is missing or empty.'
  )


@register(
  30,
  'Learning curves',
  'Validation accuracy after each epoch: mean over seeds and its 95 % t '
  'interval; diverged seeds count as chance. An arm that is far below the '
  'others is named at the lower edge (▼), with its last value.',
  _absent,
)
def curves(study: Published) -> Iterator[Drawing]:
  """A picture for every condition and ruleset."""
  for condition, ruleset in study.planned:
    arms: dict[str, list[Row]] = {}
    for row in study.curves:
      if (row['condition'], row['ruleset']) == (condition, ruleset):
        arms.setdefault(row['arm'], []).append(row)
    if not arms:
      continue
    lines = {arm: _line(rows) for arm, rows in arms.items()}
    title = f'{condition}, {ruleset}'
    yield Drawing(
      (condition, ruleset),
      f'Validation accuracy of every arm over epochs, {title}.',
      functools.partial(
        panels.draw, lines, study.arms, _SCALE, f'Learning curves: {title}'
      ),
    )


def _line(rows: list[Row]) -> panels.Line:
  rows = sorted(rows, key=lambda row: row['epoch'])
  x = np.array([row['epoch'] for row in rows], float)
  mean, low, high = (
    100 * np.array([row[name] for row in rows], float)
    for name in ('mean', 'ci_low', 'ci_high')
  )
  return panels.Line(x, mean, low, high)
