"""What becomes of the first task of a split while others are learned."""

from collections.abc import Iterator
import functools

import numpy as np

from experiments.reporting.figures import matrices
from experiments.reporting.figures import tasks
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import panels
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_SCALE = panels.Scale(
  'tasks learned', 'accuracy on the first task (%)', whole=True
)


@register(
  26,
  'The first task',
  'Of splits, the accuracy on the first task while it and the others are '
  'learned, at every evaluation: mean over the seeds that stayed finite and '
  f'its 95 % t interval, which is left out of fewer than {tasks.FEW}.',
  matrices.absent,
)
def first_task(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that is a split, and ruleset."""
  for group, arms in matrices.by_group(study).items():
    updates = max(row['update'] for rows in arms.values() for row in rows)
    lines = {
      arm: line
      for arm, rows in arms.items()
      if len((line := _line(rows, updates)).x)
    }
    if not lines:
      continue
    title = ', '.join(group)
    yield Drawing(
      group,
      f'Accuracy of every arm on the first task at every evaluation, {title}.',
      functools.partial(
        panels.draw, lines, study.arms, _SCALE, f'The first task: {title}'
      ),
    )


def _line(rows: list[Row], updates: int) -> panels.Line:
  """The line of an arm; the last evaluation of a task is at its end."""
  own = [row for row in rows if row['evaluated_task'] == 1]
  own.sort(key=lambda row: (row['task'], row['update']))
  x = [row['task'] - 1 + row['update'] / updates for row in own]
  return tasks.band(np.array(x, float), own, 100)
