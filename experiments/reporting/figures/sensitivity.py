"""How much two hyperparameters of an arm matter together."""

from collections.abc import Iterator
import functools
import json

import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting.figures import kind
from experiments.reporting.plots import maps
from experiments.studies.loading import Published


@kind.register(
  52,
  'Sensitivity to two hyperparameters',
  'Conditions that differ in two hyperparameters of one arm alone: the mean '
  'over seeds, in percent, where a diverged seed counts as chance. Every map '
  'has its own colours.',
  '',
)
def sensitivity(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every grid of conditions."""
  for grid in _grids(study):
    (arm,) = grid['arm'].unique()
    task = study.conditions[grid['condition'].iloc[0]].task
    first, second = sorted(grid['numbers'].iloc[0])
    table = pd.DataFrame(
      {
        first: [x[first] for x in grid['numbers']],
        second: [x[second] for x in grid['numbers']],
        'y': 100 * grid['mean'],
      }
    ).pivot_table(index=second, columns=first, values='y')
    name = task.get('stream') or task['dataset']
    title = f'{arm}: {name}'
    yield kind.Drawing(
      (arm, name),
      f'{accuracies.compared(task).capitalize()} of {arm} against {first} and '
      f'{second}, {name}.',
      functools.partial(
        maps.surface, table, f'{accuracies.compared(task)} (%)', title
      ),
    )


def points(study: Published) -> set[str]:
  """The conditions that are a point of a grid, and no picture of their own."""
  return {name for grid in _grids(study) for name in grid['condition']}


def _grids(study: Published) -> Iterator[pd.DataFrame]:
  """The rows of the summary of each grid, with the `numbers` of its points.

  Its conditions have one arm, and differ in two hyperparameters alone.
  """
  defined = study.study['definition']['conditions']
  rows = study.summary.assign(
    numbers=[
      defined[x].get('numbers') or {} for x in study.summary['condition']
    ]
  )
  alone = rows.groupby('condition')['arm'].transform('size') == 1
  rows = rows[alone & (rows['numbers'].map(len) == 2)]
  alike = [
    json.dumps([arm, study.conditions[name].task, sorted(numbers)])
    for arm, name, numbers in rows[['arm', 'condition', 'numbers']].itertuples(
      index=False
    )
  ]
  for _, grid in rows.groupby(alike, sort=False):
    if len(grid) > 1:
      yield grid
