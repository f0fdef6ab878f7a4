"""How the arms learn, epoch by epoch."""

from collections.abc import Iterator

import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting.figures import kind
from experiments.reporting.plots import lines
from experiments.studies.loading import Published

_SCALE = lines.Scale('epoch', 'validation accuracy (%)', whole=True)


def _absent(study: Published) -> str:
  if accuracies.TEST not in accuracies.compared_in(study):
    return ''  # Streams have no epochs; they are drawn task by task.
  return (
    'There are no curves: nothing was held out to measure them on, or '
    'curves.csv is missing or empty.'
  )


@kind.register(
  30,
  'Learning curves',
  'Validation accuracy after each epoch: mean over seeds and its 95 % t '
  'interval; diverged seeds count as chance. An arm that is far below the '
  'others is named at the lower edge (▼), with its last value.',
  _absent,
)
def curves(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition and ruleset."""
  for group, arms in kind.by_arm(study, study.curves).items():
    title = ', '.join(group)
    yield kind.of_lines(
      study,
      group,
      f'Validation accuracy of every arm over epochs, {title}.',
      {arm: _line(rows) for arm, rows in arms.items()},
      _SCALE,
      f'Learning curves: {title}',
    )


def _line(rows: pd.DataFrame) -> lines.Line:
  rows = rows.sort_values('epoch')
  mean, low, high = 100 * rows[['mean', 'ci_low', 'ci_high']].to_numpy().T
  return lines.Line(rows['epoch'].to_numpy(float), mean, low, high)
