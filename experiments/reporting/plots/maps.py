"""Heat maps: of the tasks of a split, and of two hyperparameters."""

from collections.abc import Mapping
import math

from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments.reporting.plots import lines
from experiments.reporting.plots import style

_COLUMNS = 6
_WIDTH, _HEIGHT = 1.75, 1.95  # Inches, of a map.
# There is room for the numbers of so many tasks.
_MANY = 10
# Percent, below which the map is dark.
_DARK = 60


def draw(matrices: Mapping[str, np.ndarray], title: str) -> Figure:
  """A heat map of every arm, with numbers where there is room.

  Matrices are of fractions, [after task, on task]; NaN where there is none, and
  everywhere if all seeds diverged: the picture says so.
  """
  columns = min(_COLUMNS, len(matrices))
  rows = math.ceil(len(matrices) / columns)
  figure = Figure(
    figsize=(max(_WIDTH * columns, 3) + 0.7, _HEIGHT * rows + 0.5),
    layout='constrained',
  )
  axes = figure.subplots(rows, columns, squeeze=False)
  for place, (arm, matrix) in zip(axes.flat, matrices.items(), strict=False):
    mesh = _map(place, matrix, arm)
  lines.trim(axes, len(matrices), 'on task', 'after task')
  figure.colorbar(
    mesh,
    ax=list(axes.flat[: len(matrices)]),
    label='accuracy (%)',
    shrink=1 / rows,
    anchor=(0, 1),
  )
  style.title(figure, title)
  return figure


def _map(axes: Axes, matrix: np.ndarray, title: str) -> QuadMesh:
  percent = 100 * matrix
  done, tasks = matrix.shape
  mesh = axes.pcolormesh(
    np.ma.masked_invalid(percent),
    cmap=style.MAP,
    vmin=0,
    vmax=100,
    edgecolors='white',
    linewidth=0.4,
  )
  lost = not np.isfinite(percent).any()
  axes.set_title(f'{title} ×' if lost else title, fontsize=8)
  if lost:
    axes.text(
      *(0.5, 0.5, 'diverged'),
      transform=axes.transAxes,
      ha='center',
      va='center',
      color=style.GREY,
    )
  axes.set_aspect('equal')
  axes.invert_yaxis()
  _bare(axes)
  axes.set_xticks(*_ticks(tasks))
  axes.set_yticks(*_ticks(done))
  if tasks <= _MANY:
    for i, j in np.argwhere(np.isfinite(percent)):
      axes.text(
        *(j + 0.5, i + 0.5, f'{percent[i, j]:.0f}'),
        ha='center',
        va='center',
        color='white' if percent[i, j] < _DARK else 'black',
        fontsize=7,
      )
  return mesh


def _ticks(count: int) -> tuple[np.ndarray, list[str]]:
  """Places and names of tasks, as many as have room."""
  tasks = np.arange(0, count, 1 + (count - 1) // _MANY)
  return tasks + 0.5, [str(1 + i) for i in tasks]


def surface(table: pd.DataFrame, label: str, title: str) -> Figure:
  """Draws what two hyperparameters do, along the columns and the index."""
  rows, columns = table.shape
  figure = Figure(
    figsize=(0.7 * columns + 2.2, 0.5 * rows + 1.3), layout='constrained'
  )
  axes = figure.subplots()
  values = table.to_numpy(float)
  mesh = axes.pcolormesh(
    np.ma.masked_invalid(values),
    cmap=style.MAP,
    edgecolors='white',
    linewidth=0.4,
  )
  _bare(axes)
  axes.set_xticks(0.5 + np.arange(columns), [f'{x:g}' for x in table.columns])
  axes.set_yticks(0.5 + np.arange(rows), [f'{y:g}' for y in table.index])
  axes.set(xlabel=table.columns.name, ylabel=table.index.name)
  low, high = np.nanmin(values), np.nanmax(values)
  for i, j in np.argwhere(np.isfinite(values)):
    dark = values[i, j] < low + _DARK / 100 * (high - low)
    axes.text(
      *(j + 0.5, i + 0.5, f'{values[i, j]:.1f}'),
      ha='center',
      va='center',
      color='white' if dark else 'black',
    )
  figure.colorbar(mesh, ax=axes, label=label)
  style.title(figure, title)
  return figure


def _bare(axes: Axes) -> None:
  """Without what stands between cells."""
  axes.grid(visible=False)
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
