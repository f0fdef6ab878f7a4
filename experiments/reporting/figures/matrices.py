"""What the arms know of every task of a split, after each of them."""

from collections.abc import Iterator, Mapping
import functools
import math

from matplotlib.figure import Figure
import numpy as np

from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import matrices as maps
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_COLUMNS = 6
_WIDTH, _HEIGHT = 1.75, 1.95  # Inches, of a map.


def absent(study: Published) -> str:
  """Why there is no picture of what was evaluated of splits."""
  if any(each.splits for each in study.conditions.values()):
    return 'evaluations.csv is missing or empty, or no seed stayed finite.'
  return ''


@register(
  24,
  'What is known after each task',
  'Of splits, the accuracy on every task (across) after each task (down), in '
  'percent: mean over the seeds that stayed finite. Below the diagonal are the '
  'tasks that were learned before. An arm with a × diverged with all seeds.',
  absent,
)
def matrices(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that is a split, and ruleset."""
  for group, arms in by_group(study).items():
    title = ', '.join(group)
    found = {arm: _matrix(rows) for arm, rows in arms.items()}
    yield Drawing(
      group,
      f'Accuracy on every task after each task, for every arm, {title}.',
      functools.partial(_draw, found, f'After each task: {title}'),
    )


def by_group(
  study: Published,
) -> dict[tuple[str, str], dict[str, list[Row]]]:
  """By condition and ruleset, by arm, what was evaluated of splits.

  Where all arms diverged with all seeds there is nothing to draw.
  """
  found: dict[tuple[str, str], dict[str, list[Row]]] = {}
  for row in study.evaluations:
    arms = found.setdefault((row['condition'], row['ruleset']), {})
    arms.setdefault(row['arm'], []).append(row)
  return {
    group: {arm: found[group][arm] for arm in planned if arm in found[group]}
    for group, planned in study.planned.items()
    if any(row['n'] for rows in found.get(group, {}).values() for row in rows)
  }


def _matrix(rows: list[Row]) -> np.ndarray:
  """The accuracies at the last evaluation of each task, [after, on]."""
  size = max(max(row['task'], row['evaluated_task']) for row in rows)
  matrix = np.full((size, size), np.nan)
  for row in sorted(rows, key=lambda row: row['update']):
    matrix[row['task'] - 1, row['evaluated_task'] - 1] = row['mean']
  return matrix


def _draw(found: Mapping[str, np.ndarray], title: str) -> Figure:
  columns = min(_COLUMNS, len(found))
  rows = math.ceil(len(found) / columns)
  figure = Figure(
    figsize=(max(_WIDTH * columns, 3) + 0.7, _HEIGHT * rows + 0.5),
    layout='constrained',
  )
  axes = figure.subplots(rows, columns, squeeze=False)
  for place, (arm, matrix) in zip(axes.flat, found.items(), strict=False):
    mesh = maps.draw(place, matrix, arm)
  for place in axes.flat[len(found) :]:
    place.remove()
  for place in axes[:, 0]:
    place.set_ylabel('after task')
  for i, place in enumerate(axes.flat[: len(found)]):
    if i + columns >= len(found):
      place.set_xlabel('on task')
  figure.colorbar(
    mesh,
    ax=list(axes.flat[: len(found)]),
    label='accuracy (%)',
    shrink=1 / rows,
    anchor=(0, 1),
  )
  figure.suptitle(title, x=0.01, ha='left', fontsize=11)
  return figure
