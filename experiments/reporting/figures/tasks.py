"""How the arms learn a stream, task by task."""

from collections.abc import Iterable, Iterator
import functools

import numpy as np

from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.measures import Measure
from experiments.reporting.measures import MEASURES
from experiments.reporting.plots import grids
from experiments.reporting.plots import panels
from experiments.studies import statistics
from experiments.studies import summaries
from experiments.studies.reading import Published
from experiments.studies.reading import Row

# Fewer seeds have no band.
FEW = 3


@register(
  22,
  'Task by task',
  'Of streams, after each task: mean over the seeds that stayed finite and its '
  f'95 % t interval, which is left out of fewer than {FEW}. Online accuracy '
  'scores each batch before it is learned; plasticity is the share of the loss '
  'on a batch that its update takes away; dead units, the effective rank of '
  'the last hidden layer and ‖w‖, the norm of the parameters, are taken at the '
  'end of a task. The other arms are grey. An arm with an arrow (▲, ▼) ends '
  'beyond the edge; one with a × diverged with all seeds.',
  lambda study: (
    'measures.csv is missing or empty, or no seed stayed finite.'
    if any(each.stream for each in study.conditions.values())
    else ''
  ),
)
def tasks(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that is a stream, and ruleset."""
  drawn = {measure.name: measure for measure in MEASURES}
  found: dict[tuple[str, str], dict[str, dict[str, list[Row]]]] = {}
  for row in study.measures:
    if row['measure'] in drawn:
      by_measure = found.setdefault((row['condition'], row['ruleset']), {})
      arms = by_measure.setdefault(row['measure'], {})
      arms.setdefault(row['arm'], []).append(row)
  for group in study.planned:
    if group not in found:
      continue
    measures = {
      measure.label: {
        arm: _line(rows, measure) for arm, rows in found[group][name].items()
      }
      for name, measure in drawn.items()
      if name in found[group]
    }
    title = ', '.join(group)
    yield Drawing(
      group,
      'Online accuracy, plasticity, dead units, effective rank and norm of the '
      f'parameters of every arm, over tasks, {title}.',
      functools.partial(
        grids.draw,
        *(measures, study.arms, summaries.lost(study, group)),
        *('task', f'Task by task: {title}'),
        log=[measure.label for measure in MEASURES if measure.log],
      ),
    )


def _line(rows: Iterable[Row], measure: Measure) -> panels.Line:
  rows = sorted(rows, key=lambda row: row['task'])
  x = np.array([row['task'] for row in rows], float)
  return band(x, rows, measure.factor)


def band(x: np.ndarray, rows: Iterable[Row], factor: float) -> panels.Line:
  """A line with its band, of rows that tell n, mean and sd.

  There is no band of fewer than three seeds: it would cover the picture.

  Args:
    x: where each of them stands.
    rows: the rows.
    factor: what their values are times.
  """
  mean, sd, n = np.array(
    [(row['mean'], row['sd'], row['n']) for row in rows], float
  ).T
  low, high = statistics.t_interval_of(mean, sd, np.where(n < FEW, 0, n))
  return panels.Line(x, factor * mean, factor * low, factor * high)
