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
from experiments.reporting.plots.style import COLOURS
from experiments.reporting.plots.style import STYLES
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
  """What is drawn of an arm.

  Attributes:
    x: ascending.
    y: NaN where there is nothing.
    low: the lower edge of a band; None for none.
    high: its upper edge.
    crosses: where along x the arm diverged.
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
  """A line of means with their 95 % t intervals, where there are enough seeds.

  Args:
    x: where each of them stands.
    rows: by these names, the mean over seeds, the sd and how many, n.
    factor: what the values are times.
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


def with_sd(values: np.ndarray) -> Line:
  """The means over seeds, [seeds, n], at 1, 2, …, n, and their sd around."""
  x = 1 + np.arange(values.shape[1])
  mean = values.mean(0) if len(values) else np.full(len(x), np.nan)
  if len(values) < 2:
    return Line(x, mean)
  sd = values.std(0, ddof=1)
  return Line(x, mean, mean - sd, mean + sd)


def draw(
  lines: Mapping[str, Line], order: Sequence[str], scale: Scale, title: str
) -> Figure:
  """Draws the lines of all arms, in panels by family.

  Args:
    lines: by arm.
    order: all arms of the study, so that each has the same place and colour in
      all of its pictures.
    scale: what the axes are.
    title: what stands above.

  Returns:
    The picture.
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
  """Draws the lines of a few arms in one panel, whatever their families.

  Args:
    lines: by arm; as many as there are markers, at most.
    scale: what the axes are.
    title: what stands above.

  Returns:
    The picture.
  """
  figure = Figure(figsize=_ALONE, layout='constrained')
  axes = figure.subplots()
  axes.set_ylim(*_limits(lines))
  _panel(axes, lines, [*lines], scale)
  axes.set(xlabel=scale.x, ylabel=scale.y)
  axes.set_title(title)
  return figure


def trim(axes: np.ndarray, count: int, x: str, y: str) -> None:
  """Removes the axes that are left over, and labels those at the edges.

  Args:
    axes: [rows, columns].
    count: how many of them hold something.
    x: what is along the horizontal axes.
    y: what is along the vertical axes.
  """
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
  draw_others(
    axes,
    [_stepped(x, scale.steps) for arm, x in lines.items() if arm not in arms],
  )
  if scale.zero:
    axes.axhline(0, color=style.TEXT, linewidth=0.8, zorder=1.5)
  found = []
  for i, arm in enumerate(arms):
    if arm not in lines:
      continue
    draw_line(axes, arm, lines[arm], i, steps=scale.steps)
    _cross(axes, lines[arm], i)
    there = np.flatnonzero(np.isfinite(lines[arm].y))
    if len(there):
      x, y = (float(each[there[-1]]) for each in lines[arm][:2])
      found.append(labels.Label(arm, x, y, COLOURS[i]))
    else:
      # An arm that diverged has a name all the same.
      end, low = axes.get_xlim()[1], axes.get_ylim()[0]
      found.append(labels.Label(f'{arm} ×', end, low, COLOURS[i]))
  if scale.ends:
    labels.draw(axes, found, _AXES)
  else:
    axes.legend(
      loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=style.SMALL
    )


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
  axes: Axes, lines: Sequence[tuple[np.ndarray, np.ndarray]]
) -> None:
  """Draws lines, each its x and y, in grey behind all else."""
  # One line with gaps: hundreds of lines would make large files.
  gapped = [np.append(each, [[np.nan]] * 2, axis=1) for each in lines]
  if gapped:
    axes.plot(
      *np.concatenate(gapped, axis=1), color=style.GREY, linewidth=0.7, zorder=1
    )


def appearance(i: int) -> dict[str, Any]:
  """The colour, style and marker of the i-th arm of a panel."""
  return {
    'color': COLOURS[i],
    'linestyle': STYLES[i % len(STYLES)],
    'marker': _MARKERS[i],
    'markersize': 3.5,
  }


def draw_line(
  axes: Axes, arm: str, line: Line, i: int, *, steps: bool = False
) -> None:
  """Draws an arm of a panel: its line and, where it has one, its band.

  Args:
    axes: where.
    arm: its name, for a legend.
    line: what is drawn.
    i: its place in the panel, which decides its colour and style.
    steps: whether a value holds until the next.
  """
  x, y = _stepped(line, steps)
  axes.plot(
    x,
    y,
    **appearance(i) | ({'marker': ''} if steps else {}),
    # A few tell lines apart; many would make large files.
    markevery=max(1, len(x) // _MARKED),
    label=arm,
    zorder=3,
  )
  draw_band(axes, line, COLOURS[i], 0.13)


def draw_band(axes: Axes, line: Line, colour: str, opacity: float) -> None:
  """Fills the band of a line, where it has one."""
  if line.low is not None and line.high is not None:
    axes.fill_between(
      *(line.x, line.low, line.high),
      color=colour,
      alpha=opacity,
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
      color=COLOURS[i],
      markersize=6,
      markeredgewidth=1.8,
      zorder=4,
    )


def _stepped(line: Line, steps: bool) -> tuple[np.ndarray, np.ndarray]:
  if not steps:
    return line.x, line.y
  return np.repeat(line.x, 2)[1:], np.repeat(line.y, 2)[:-1]


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
