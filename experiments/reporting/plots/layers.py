"""A line for each layer, in a panel for each arm."""

from collections.abc import Mapping
import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import pandas as pd

from experiments.reporting.plots import lines
from experiments.reporting.plots import style

_COLUMNS = 6
# A legend distinguishes so many layers.
_MANY = 10


def draw(
  arms: Mapping[str, pd.DataFrame],
  title: str,
  x: str,
  y: str,
  neutral: float | None = None,
) -> Figure:
  """Draws the layers of all arms, from rows with the columns leaf, x and y.

  In all panels there is a line at the neutral value, if there is one.
  """
  columns = min(_COLUMNS, len(arms))
  rows = math.ceil(len(arms) / columns)
  leaves = [*pd.concat(arms.values())['leaf'].unique()]
  figure = Figure(
    figsize=(max(2.0 * columns + 0.5, 4.5), 1.5 * rows + 1.2),
    layout='constrained',
  )
  axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
  for place, (arm, own) in zip(axes.flat, arms.items(), strict=False):
    if neutral is not None:
      place.axhline(neutral, color=style.GREY, linewidth=0.8)
    _layers(place, own, leaves)
    place.set_title(arm, fontsize=style.SMALL)
  lines.trim(axes, len(arms), x, y)
  style.title(figure, title)
  if len(leaves) <= _MANY:
    figure.legend(
      *axes[0, 0].get_legend_handles_labels(),
      loc='outside lower left',
      ncols=min(4, columns),
      fontsize=style.SMALL,
    )
  return figure


def _layers(axes: Axes, rows: pd.DataFrame, leaves: list[str]) -> None:
  for i, leaf in enumerate(leaves):
    own = rows[rows['leaf'] == leaf].sort_values('x')
    axes.plot(
      own['x'],
      own['y'],
      style.STYLES[(i // len(style.COLOURS)) % len(style.STYLES)],
      # The first of many layers are blue, the last yellow.
      color=style.COLOURS[i % len(style.COLOURS)]
      if len(leaves) <= _MANY
      else matplotlib.colormaps[style.MAP](i / (len(leaves) - 1)),
      linewidth=1,
      label=leaf,
    )
  axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
  axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
