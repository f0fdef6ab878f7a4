"""Lines of many arms: panels of a few, all others grey behind them."""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from numpy.typing import ArrayLike
import pandas as pd

from experiments.reporting.plots import families
from experiments.reporting.plots import labels
from experiments.reporting.plots import style
from experiments.studies import statistics

# Fewer seeds have no interval: it would cover the picture.
FEW = 3
# An arm has the same panel and colour in all pictures of a study.
_COLUMNS = 3
_WIDTH, _HEIGHT = 4.0, 2.7  # Inches, of a panel.
_AXES = 145  # Points, about, of its axes.
_ALONE = (7.2, 3.3)  # Inches, of a panel that is a picture.
_MARKERS = 'osD^vPX'
_MARKED = 5
# Above all others, and a little more.
_MARGIN = 0.06


class Line(NamedTuple):
  """What is drawn of an arm: y along ascending x, NaN where there is nothing.

  It may have a band from low to high, and crosses along x where it diverged.
  """

  x: np.ndarray
  y: np.ndarray
  low: np.ndarray | None = None
  high: np.ndarray | None = None
  crosses: tuple[float, ...] = ()


class Scale(NamedTuple):
  """The axes of all panels.

  Attributes:
    x: what is along the horizontal axis.
    y: what is along the vertical axis.
    log: whether the horizontal one is logarithmic.
    whole: whether it has whole numbers only.
    steps: whether a value holds until the next.
    ends: whether names stand at the ends of lines; else in a legend.
    zero: whether there is a line at 0.
    ticks: the only ticks of the horizontal axis; empty for any.
  """

  x: str
  y: str
  log: bool = False
  whole: bool = False
  steps: bool = False
  ends: bool = True
  zero: bool = False
  ticks: tuple[float, ...] = ()


def with_interval(
  x: ArrayLike, rows: Mapping[str, Any] | pd.DataFrame, factor: float = 1
) -> Line:
  """Means over seeds, with 95 % t intervals where there are enough seeds.

  The rows have the `mean` over seeds, the `sd` and how many seeds there are, n.
  """
  mean, n = np.asarray(rows['mean'], float), np.asarray(rows['n'])
  low, high = statistics.t_interval_of(
    mean, rows['sd'], np.where(n < FEW, 0, n)
  )
  return Line(np.asarray(x, float), factor * mean, factor * low, factor * high)


def over_seeds(
  values: np.ndarray, x: ArrayLike | None = None, factor: float = 1
) -> Line:
  """The same of values, [seeds, n], at x or at 1, 2, …, n.

  Without any seed, the line is NaN.
  """
  seeds, n = values.shape
  nothing = np.full(n, np.nan)
  rows = {
    'mean': values.mean(0) if seeds else nothing,
    'sd': values.std(0, ddof=1) if seeds > 1 else nothing,
    'n': seeds,
  }
  return with_interval(1 + np.arange(n) if x is None else x, rows, factor)


def draw(
  lines: Mapping[str, Line], order: Sequence[str], scale: Scale, title: str
) -> Figure:
  """The lines of all arms, in panels by family.

  By `order`, all arms of the study, each has the same place and colour in all
  of its pictures.
  """
  parts = families.panels(dict.fromkeys([*order, *lines]), lines)
  columns = min(_COLUMNS, len(parts))
  rows = math.ceil(len(parts) / columns)
  figure = Figure(
    figsize=(_WIDTH * columns + 0.6, _HEIGHT * rows + 0.5), layout='constrained'
  )
  axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
  limits = _limits(lines)
  for place, (name, arms) in zip(axes.flat, parts, strict=False):
    place.set_ylim(*limits)
    _panel(place, lines, arms, scale)
    place.set_title(name)
  trim(axes, len(parts), scale.x, scale.y)
  style.title(figure, title)
  return figure


def together(lines: Mapping[str, Line], scale: Scale, title: str) -> Figure:
  """The lines of up to seven arms in one panel, whatever their families."""
  figure = Figure(figsize=_ALONE, layout='constrained')
  axes = figure.subplots()
  axes.set_ylim(*_limits(lines))
  _panel(axes, lines, [*lines], scale)
  axes.set(xlabel=scale.x, ylabel=scale.y)
  axes.set_title(title)
  return figure


def trim(axes: np.ndarray, count: int, x: str, y: str) -> None:
  """Labels the edges of axes, [rows, columns], and removes all but `count`."""
  for place in axes.flat[count:]:
    place.remove()
  for place in axes[:, 0]:
    place.set_ylabel(y)
  for i, place in enumerate(axes.flat[:count]):
    if i + axes.shape[1] >= count:
      place.tick_params(labelbottom=True)
      place.set_xlabel(x)


def _panel(
  axes: Axes, lines: Mapping[str, Line], arms: list[str], scale: Scale
) -> None:
  _set_x(axes, lines, scale)
  axes.grid(axis='x', visible=False)
  how = {'drawstyle': 'steps-post', 'marker': ''} if scale.steps else {}
  others = [each for arm, each in lines.items() if arm not in arms]
  draw_others(axes, [each[:2] for each in others], **how)
  if scale.zero:
    axes.axhline(0, color=style.TEXT, linewidth=0.8, zorder=1.5)
  found = []
  for i, arm in enumerate(arms):
    if arm not in lines:
      continue
    draw_line(axes, arm, lines[arm], i, **how)
    _cross(axes, lines[arm], i)
    there = np.flatnonzero(np.isfinite(lines[arm].y))
    if len(there):
      x, y = (float(each[there[-1]]) for each in lines[arm][:2])
      found.append((arm, x, y, style.COLOURS[i]))
    else:
      # An arm that diverged has a name all the same.
      end, low = axes.get_xlim()[1], axes.get_ylim()[0]
      found.append((f'{arm} ×', end, low, style.COLOURS[i]))
  if scale.ends:
    labels.draw(axes, found, _AXES)
  else:
    style.legend(axes)


def _set_x(axes: Axes, lines: Mapping[str, Line], scale: Scale) -> None:
  every = np.concatenate([line.x for line in lines.values()])
  low, high = float(every.min()), float(every.max())
  if scale.log:
    style.log_x(axes)
    axes.set_xlim(low / 1.15, high * 1.15)
  else:
    margin = 0.03 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)
  if scale.whole:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  if scale.ticks:
    axes.set_xticks(scale.ticks, [f'{x:g}' for x in scale.ticks])
    axes.minorticks_off()


def draw_others(
  axes: Axes, lines: Sequence[tuple[np.ndarray, np.ndarray]], **how: Any
) -> None:
  """Draws lines, each its x and y, in grey behind all else."""
  # One line with gaps: hundreds of lines would make large files.
  gapped = [np.append(each, [[np.nan]] * 2, axis=1) for each in lines]
  if gapped:
    points = np.concatenate(gapped, axis=1)
    axes.plot(*points, color=style.GREY, linewidth=0.7, zorder=1, **how)


def appearance(i: int) -> dict[str, Any]:
  """The colour, style and marker of the i-th arm of a panel."""
  return {
    'color': style.COLOURS[i],
    'linestyle': style.STYLES[i % len(style.STYLES)],
    'marker': _MARKERS[i],
    'markersize': 3.5,
  }


def draw_line(axes: Axes, arm: str, line: Line, i: int, **how: Any) -> None:
  """Draws the i-th arm of a panel: its line and, where it has one, its band."""
  axes.plot(
    line.x,
    line.y,
    **appearance(i) | how,
    # A few tell lines apart; many would make large files.
    markevery=max(1, len(line.x) // _MARKED),
    label=arm,
    zorder=3,
  )
  if line.low is not None and line.high is not None:
    axes.fill_between(
      *(line.x, line.low, line.high),
      color=style.COLOURS[i],
      alpha=0.13,
      linewidth=0,
    )


def _cross(axes: Axes, line: Line, i: int) -> None:
  if line.crosses:
    low, high = axes.get_ylim()
    # Apart, since several arms may diverge at one place.
    height = low + (0.02 + 0.05 * i) * (high - low)
    axes.plot(
      line.crosses,
      [height] * len(line.crosses),
      'x',
      color=style.COLOURS[i],
      markersize=6,
      markeredgewidth=1.8,
      zorder=4,
    )


def _limits(lines: Mapping[str, Line]) -> tuple[float, float]:
  """Vertical limits in which most can be read; few lines leave them below."""
  ends = [line.y[np.isfinite(line.y)] for line in lines.values()]
  ends = [each for each in ends if len(each)]
  if not ends:
    return 0.0, 1.0
  top = max(float(each.max()) for each in ends)
  last = np.array([each[-1] for each in ends])
  reach = max(4 * (last.max() - np.median(last)), 1.0)
  near = [each for each in ends if each[-1] >= last.max() - reach]
  values = np.concatenate(near)
  low = max(values.min(), top - 3 * (top - np.median(values)) - 0.5)
  margin = _MARGIN * (top - low) or 1.0
  return float(low - margin), float(top + margin)
