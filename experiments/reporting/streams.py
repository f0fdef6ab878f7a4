"""How a run on a stream is shown: its table and its pictures."""

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from rich.table import Table

from experiments.reporting import curves
from experiments.reporting import pictures
from experiments.reporting import terminal
from experiments.reporting.measures import MEASURES
from experiments.reporting.plots import matrices
from experiments.training.records import History

# The columns of the table, and which measures they are.
_ONLINE = {
  'all tasks': 'online_accuracy',
  'first tenth': 'online_accuracy_first_tenth',
  'last tenth': 'online_accuracy_last_tenth',
}
_OF_SPLITS = {
  'online': 'online_accuracy',
  'average': 'average_accuracy',
  'forgetting': 'forgetting',
  'WC-ACC': 'worst_case_accuracy',
}


def results_table(results: Mapping[str, Any], title: str) -> Table:
  """The table that a run on a stream ends with.

  Args:
    results: what `results.json` says, by arm.
    title: what stands above.

  Returns:
    A table to print.
  """
  columns, what = _ONLINE, 'of all tasks, of the first and of the last tenth'
  if any('forgetting' in each['measures'] for each in results.values()):
    columns, what = _OF_SPLITS, 'of all tasks; the others after the last task'
  table = Table(
    title=title,
    caption=f'percent, mean ± sd over seeds; online accuracy {what}',
  )
  table.add_column('arm', no_wrap=not any(',' in arm for arm in results))
  for heading in ('lr', *columns):
    table.add_column(heading, justify='right', no_wrap=True)
  unfinished = any(x['status'] != 'finished' for x in results.values())
  if unfinished:
    table.add_column('status')
  for arm, result in results.items():
    spreads = [result['measures'].get(name, {}) for name in columns.values()]
    values = [terminal.percent(x.get('mean'), x.get('sd')) for x in spreads]
    table.add_row(
      arm,
      f'{result["learning_rate"]:g}',
      *(value.removesuffix(' %') for value in values),
      *([terminal.status(result)] if unfinished else []),
    )
  return table


def draw(
  histories: Mapping[str, History], folder: Path, title: str
) -> list[str]:
  """Draws all pictures of a run on a stream.

  Args:
    histories: by arm, with the numbers that tell it from others.
    folder: where the pictures go; each appears whole.
    title: what stands above.

  Returns:
    The names of the files.
  """
  _draw_measures(histories, folder / 'stream.png', title)
  if not any(each.evaluations.size for each in histories.values()):
    return ['stream.png']
  _draw_forgetting(histories, folder / 'forgetting.png', title)
  return ['stream.png', 'forgetting.png']


def _draw_measures(
  histories: Mapping[str, History], path: Path, title: str
) -> None:
  """Five panels over tasks: means and spreads over the seeds left finite."""
  figure = Figure(figsize=(14, 7.6), layout='constrained')
  *axes, legend = figure.subplots(2, 3).flat
  for each, measure in zip(axes, MEASURES, strict=True):
    for index, (arm, history) in enumerate(histories.items()):
      values = measure.factor * history[measure.name][~history.diverged()]
      curves.band(each, values, arm, index)
    each.set_ylabel(measure.label)
    _by_task(each)
  handles = axes[0].get_legend_handles_labels()
  legend.axis('off')
  legend.legend(
    *handles,
    title='mean ± sd over seeds',
    loc='center',
    ncols=math.ceil(len(histories) / 16),
  )
  figure.suptitle(title)
  pictures.save(figure, path, dpi=110)


def _draw_forgetting(
  histories: Mapping[str, History], path: Path, title: str
) -> None:
  """The matrix of accuracies of every arm, and what becomes of the first task.

  Args:
    histories: by arm.
    path: the PNG to write.
    title: what stands above.
  """
  columns = min(4, len(histories))
  rows = math.ceil(len(histories) / columns)
  figure = Figure(
    figsize=(max(9, 3.4 * columns), 3.2 * rows + 4), layout='constrained'
  )
  grid = figure.add_gridspec(rows + 1, columns)
  image: Any = None
  left = []
  for index, (arm, history) in enumerate(histories.items()):
    axes = figure.add_subplot(grid[divmod(index, columns)])
    image = matrices.draw(axes, _kept(history)[:, :, -1].mean(0), arm)
    axes.set_xlabel('on task')
    axes.set_ylabel('after task')
    left.append(axes)
  figure.colorbar(image, ax=left, label='accuracy (%)')
  below = figure.add_subplot(grid[rows, :])
  for index, (arm, history) in enumerate(histories.items()):
    _first_task(below, _kept(history), arm, index)
  below.set_ylabel('accuracy on the first task (%)')
  below.set_xlabel('tasks learned')
  below.set_ylim(top=min(102, below.get_ylim()[1]))
  below.grid(alpha=0.3)
  below.legend(title='mean ± sd over seeds', fontsize=8)
  figure.suptitle(title)
  pictures.save(figure, path, dpi=110)


def _kept(history: History) -> np.ndarray:
  """The evaluations of the seeds that stayed finite, or of all if none did."""
  finite = ~history.diverged()
  return history.evaluations[finite if finite.any() else slice(None)]


def _first_task(
  axes: Axes, evaluations: np.ndarray, arm: str, index: int
) -> None:
  """The accuracy on the first task, at every evaluation."""
  _, tasks, times, _ = evaluations.shape
  values = 100 * evaluations[..., 0].reshape(len(evaluations), -1)
  places = (1 + np.arange(tasks * times)) / times
  curves.band(axes, values, arm, index, places=places, marker='')


def _by_task(axes: Axes) -> None:
  axes.set_xlabel('task')
  axes.grid(alpha=0.3)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
