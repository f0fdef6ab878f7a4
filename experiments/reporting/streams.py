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
from experiments.training.stream_engine import evaluated_after

# The columns of the table, and which measures they are.
_ONLINE = {
  'all tasks': 'online_accuracy',
  'first tenth': 'online_accuracy_first_tenth',
  'last tenth': 'online_accuracy_last_tenth',
}
_OF_SPLITS = {
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
  columns, what = _ONLINE, 'online accuracy in percent'
  if any('forgetting' in each['measures'] for each in results.values()):
    columns = _OF_SPLITS
    what = 'percent, on all tasks after the last, or what was forgotten of them'
  table = Table(title=title, caption=f'{what}, mean ± sd over seeds')
  # Where there is little room, names take more lines; numbers are never cut.
  table.add_column('arm', overflow='fold')
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
  histories: Mapping[str, History], updates: int, folder: Path, title: str
) -> list[str]:
  """Draws all pictures of a run on a stream.

  Args:
    histories: by arm, with the numbers that tell it from others.
    updates: of a task.
    folder: where the pictures go; each appears whole.
    title: what stands above.

  Returns:
    The names of the files.
  """
  _draw_measures(histories, folder / 'stream.png', title)
  if not any(each.evaluations.size for each in histories.values()):
    return ['stream.png']
  _draw_forgetting(histories, updates, folder / 'forgetting.png', title)
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
  histories: Mapping[str, History], updates: int, path: Path, title: str
) -> None:
  """The matrix of accuracies of every arm, and what becomes of the first task.

  Args:
    histories: by arm.
    updates: of a task.
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
    image = matrices.draw(axes, _matrix(history), arm)
    axes.set_xlabel('on task')
    axes.set_ylabel('after task')
    left.append(axes)
  figure.colorbar(image, ax=left, label='accuracy (%)')
  below = figure.add_subplot(grid[rows, :])
  for index, (arm, history) in enumerate(histories.items()):
    _first_task(below, history, updates, arm, index)
  below.set_ylabel('accuracy on the first task (%)')
  below.set_xlabel('tasks learned')
  below.set_ylim(top=min(102, below.get_ylim()[1]))
  below.grid(alpha=0.3)
  below.legend(title='mean ± sd over seeds', fontsize=8)
  figure.suptitle(title)
  pictures.save(figure, path, dpi=110)


def _matrix(history: History) -> np.ndarray:
  """The mean over the seeds that stayed finite; NaN if none did."""
  at_end = history.evaluations[:, :, -1]
  finite = ~history.diverged()
  return at_end[finite].mean(0) if finite.any() else np.nan * at_end[0]


def _first_task(
  axes: Axes, history: History, updates: int, arm: str, index: int
) -> None:
  """The accuracy on the first task, at every evaluation."""
  evaluations = history.evaluations[~history.diverged()]
  tasks, times = history.evaluations.shape[1:3]
  values = 100 * evaluations[..., 0].reshape(len(evaluations), tasks * times)
  within = np.array(evaluated_after(updates)) / updates
  places = (np.arange(tasks)[:, None] + within).ravel()
  curves.band(axes, values, arm, index, places=places, marker='')


def _by_task(axes: Axes) -> None:
  axes.set_xlabel('task')
  axes.grid(alpha=0.3)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
