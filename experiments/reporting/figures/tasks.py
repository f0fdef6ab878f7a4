"""How the arms learn a stream, task by task."""

from collections.abc import Iterator
import functools

import pandas as pd

from experiments.reporting import measures
from experiments.reporting.figures.kind import by_arm
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import grids
from experiments.reporting.plots import lines
from experiments.reporting.plots.lines import FEW
from experiments.studies.loading import Published


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
  drawn = study.measures['measure'].isin([x.name for x in measures.MEASURES])
  summary = study.summary
  diverged = summary[
    (summary['seeds'] > 0) & (summary['seeds'] == summary['diverged'])
  ]
  for group, arms in by_arm(study, study.measures[drawn]).items():
    found: dict[str, dict[str, lines.Line]] = {}
    for arm, rows in arms.items():
      for name, own in rows.groupby('measure', sort=False):
        found.setdefault(str(name), {})[arm] = _line(own, str(name))
    lost = diverged.loc[
      (diverged[['condition', 'ruleset']] == list(group)).all(axis=1), 'arm'
    ]
    title = ', '.join(group)
    yield Drawing(
      group,
      'Online accuracy, plasticity, dead units, effective rank and norm of the '
      f'parameters of every arm, over tasks, {title}.',
      functools.partial(
        grids.draw, found, study.arms, {*lost}, f'Task by task: {title}'
      ),
    )


def _line(rows: pd.DataFrame, name: str) -> lines.Line:
  rows = rows.sort_values('task')
  return lines.with_interval(rows['task'], rows, measures.BY_NAME[name].factor)
