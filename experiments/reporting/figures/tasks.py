"""How the arms learn a stream, and what they know of the tasks of a split."""

from collections.abc import Iterator
import functools

import numpy as np
import pandas as pd

from experiments.reporting import quantities
from experiments.reporting.figures import kind
from experiments.reporting.figures import sensitivity
from experiments.reporting.plots import grids
from experiments.reporting.plots import lines
from experiments.reporting.plots import maps
from experiments.studies.loading import Published

FIRST_TASK = lines.Scale(
  'tasks learned', 'accuracy on the first task (%)', whole=True
)


@kind.register(
  22,
  'Task by task',
  'Of streams, after each task: mean over the seeds that stayed finite and its '
  f'95 % t interval, which is left out of fewer than {lines.FEW}. Online '
  'accuracy scores each batch before it is learned; plasticity is the share of '
  'the loss on a batch that its update takes away; dead units, the effective '
  'rank of the last hidden layer and ‖w‖, the norm of the parameters, are '
  'taken at the end of a task. The other arms are grey. An arm with an arrow '
  '(▲, ▼) ends beyond the edge; one with a × diverged with all seeds.',
  lambda study: (
    'measures.csv is missing or empty, or no seed stayed finite.'
    if any(each.stream for each in study.conditions.values())
    else ''
  ),
)
def tasks(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that is a stream, and ruleset."""
  drawn = study.measures['measure'].isin([x.name for x in quantities.BY_TASK])
  summary = study.summary
  diverged = summary[
    (summary['seeds'] > 0) & (summary['seeds'] == summary['diverged'])
  ]
  measures = study.measures[drawn].sort_values('task', kind='stable')
  points = sensitivity.points(study)
  for group, arms in kind.by_arm(study, measures).items():
    if group[0] in points:
      continue
    found: dict[str, dict[str, lines.Line]] = {}
    for arm, rows in arms.items():
      for name, own in rows.groupby('measure', sort=False):
        factor = quantities.BY_NAME[str(name)].factor
        line = lines.with_interval(own['task'], own, factor)
        found.setdefault(str(name), {})[arm] = line
    lost = diverged.loc[
      (diverged[['condition', 'ruleset']] == list(group)).all(axis=1), 'arm'
    ]
    title = ', '.join(group)
    yield kind.Drawing(
      group,
      'Online accuracy, plasticity, dead units, effective rank and norm of the '
      f'parameters of every arm, over tasks, {title}.',
      functools.partial(
        grids.draw, found, study.arms, {*lost}, f'Task by task: {title}'
      ),
    )


def _absent(study: Published) -> str:
  if any(each.splits for each in study.conditions.values()):
    return 'evaluations.csv is missing or empty, or no seed stayed finite.'
  return ''


@kind.register(
  24,
  'What is known after each task',
  'Of splits, the accuracy on every task (across) after each task (down), in '
  'percent: mean over the seeds that stayed finite. Below the diagonal are the '
  'tasks that were learned before. An arm with a × diverged with all seeds.',
  _absent,
)
def matrices(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that is a split, and ruleset."""
  for group, arms in _by_group(study):
    title = ', '.join(group)
    found = {arm: _matrix(rows) for arm, rows in arms.items()}
    yield kind.Drawing(
      group,
      f'Accuracy on every task after each task, for every arm, {title}.',
      functools.partial(maps.draw, found, f'After each task: {title}'),
    )


@kind.register(
  26,
  'The first task',
  'Of splits, the accuracy on the first task while it and the others are '
  'learned, at every evaluation: mean over the seeds that stayed finite and '
  f'its 95 % t interval, which is left out of fewer than {lines.FEW}.',
  _absent,
)
def first_task(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that is a split, and ruleset."""
  for group, arms in _by_group(study):
    updates = max(rows['update'].max() for rows in arms.values())
    found = {arm: _first_task(rows, updates) for arm, rows in arms.items()}
    found = {arm: line for arm, line in found.items() if len(line.x)}
    if not found:
      continue
    title = ', '.join(group)
    alt = 'Accuracy of every arm on the first task at every evaluation'
    above = f'The first task: {title}'
    yield kind.of_lines(
      study, group, f'{alt}, {title}.', found, FIRST_TASK, above
    )


def _by_group(
  study: Published,
) -> Iterator[tuple[tuple[str, str], dict[str, pd.DataFrame]]]:
  """By condition and ruleset, by arm, what was evaluated of splits."""
  for group, arms in kind.by_arm(study, study.evaluations).items():
    # Where all arms diverged with all seeds there is nothing to draw.
    if any(rows['n'].any() for rows in arms.values()):
      yield group, arms


def _matrix(rows: pd.DataFrame) -> np.ndarray:
  """The accuracies at the last evaluation of each task, [after, on]."""
  size = rows[['task', 'evaluated_task']].to_numpy().max()
  rows = rows.sort_values('update', kind='stable')
  matrix = np.full((size, size), np.nan)
  matrix[rows['task'] - 1, rows['evaluated_task'] - 1] = rows['mean']
  return matrix


def _first_task(rows: pd.DataFrame, updates: int) -> lines.Line:
  """The line of an arm; the last evaluation of a task is at its end."""
  own = rows[rows['evaluated_task'] == 1].sort_values(['task', 'update'])
  x = own['task'] - 1 + own['update'] / updates
  return lines.with_interval(x, own, 100)
