"""Differences with their intervals, a row each, side by side by ruleset."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.plots import style

_ROW = 0.2  # Inches.
_LEVEL = 0.05
# How many times the usual reach is shown; what is beyond is at the edge.
_FAR = 3.0


class Interval(NamedTuple):
  """A difference.

  Attributes:
    family: of the arm.
    mean: a fraction; NaN for none.
    low: the lower end of its interval; NaN for none.
    high: the upper end.
    p_holm: the adjusted p-value.
  """

  family: str
  mean: float
  low: float
  high: float
  p_holm: float


def draw(
  panels: Mapping[str, Mapping[str, Interval]], title: str, x: str
) -> Figure:
  """Draws a forest.

  Args:
    panels: by title, the intervals by label. Rows are sorted by the last panel
      that has them, the largest difference first.
    title: what stands above.
    x: what the differences are, in points.

  Returns:
    The picture.
  """
  order = _sorted([*panels.values()])
  figure = Figure(
    figsize=(1.8 + 4.6 * len(panels), 1.5 + _ROW * len(order)),
    layout='constrained',
  )
  axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
  every = [each for panel in panels.values() for each in panel.values()]
  limits = _limits(every)
  for place, (name, rows) in zip(axes, panels.items(), strict=True):
    place.set_xlim(*limits)
    _panel(place, rows, order)
    place.set_title(name)
    place.set_xlabel(x)
  axes[0].set_yticks(range(len(order)), order)
  axes[0].set_ylim(len(order) - 0.4, -0.6)
  style.title(figure, title)
  _legend(figure, {each.family for each in every})
  return figure


def _sorted(panels: Sequence[Mapping[str, Interval]]) -> list[str]:
  found: dict[str, float] = {}
  for panel in panels:
    found |= {label: each.mean for label, each in panel.items()}
  return sorted(found, key=lambda x: (np.isnan(found[x]), -found[x]))


def _limits(intervals: Sequence[Interval]) -> tuple[float, float]:
  ends = np.array([[x.mean, x.low, x.high] for x in intervals], float)
  ends = 100 * ends[np.isfinite(ends).all(axis=1)].ravel()
  if not len(ends):
    ends = np.array([100 * x.mean for x in intervals if np.isfinite(x.mean)])
  if not len(ends):
    return -1.0, 1.0
  usual = max(float(np.quantile(np.abs(ends), 0.75)), 0.1)
  shown = np.clip(ends, -_FAR * usual, _FAR * usual)
  low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
  margin = 0.05 * (high - low)
  return float(low - margin), float(high + margin)


def _panel(
  axes: Axes, rows: Mapping[str, Interval], order: Sequence[str]
) -> None:
  axes.axvline(0, color=style.TEXT, linewidth=0.9, zorder=1)
  axes.tick_params(axis='y', length=0)
  axes.grid(axis='y', visible=False)
  for y, label in enumerate(order):
    if y % 2:
      axes.axhspan(y - 0.5, y + 0.5, color='#f6f6f6', zorder=0, linewidth=0)
    each = rows.get(label)
    text = '' if each is None else _text(each)
    axes.annotate(
      text,
      xy=(1.01, y),
      xycoords=('axes fraction', 'data'),
      va='center',
      fontsize=style.SMALL,
    )
    if each is not None and np.isfinite(each.mean):
      _row(axes, y, each)


def _row(axes: Axes, y: int, each: Interval) -> None:
  colour = families.COLOUR[each.family]
  low, high = axes.get_xlim()
  x = 100 * each.mean
  filled = each.p_holm < _LEVEL
  marker = families.MARKER[each.family]
  if not low <= x <= high:
    marker, x = ('<', low) if x < low else ('>', high)
  elif np.isfinite(each.low) and np.isfinite(each.high):
    axes.plot(
      [100 * each.low, 100 * each.high], [y, y], color=colour, linewidth=1.6
    )
  axes.plot(
    x,
    y,
    marker,
    color=colour,
    markerfacecolor=colour if filled else 'white',
    markersize=5.5,
    markeredgewidth=1.3,
    clip_on=False,
    zorder=4,
  )


def _text(each: Interval) -> str:
  if not np.isfinite(each.mean):
    return 'no pairs'
  return numbers.difference(*(100 * x for x in each[1:4]))


def _legend(figure: Figure, there: set[str]) -> None:
  handles = [
    _handle(families.MARKER[name], families.COLOUR[name], name)
    for name in families.FAMILIES
    if name in there
  ]
  handles += [
    _handle('o', style.TEXT, f'p (Holm) < {_LEVEL:g}'),
    _handle('o', style.TEXT, f'p (Holm) ≥ {_LEVEL:g}', fill='white'),
  ]
  figure.legend(
    handles=handles, loc='outside lower left', ncols=4, fontsize=style.SMALL
  )


def _handle(
  marker: str, colour: str, label: str, fill: str | None = None
) -> Line2D:
  return Line2D(
    [],
    [],
    linestyle='',
    marker=marker,
    color=colour,
    markerfacecolor=fill or colour,
    label=label,
  )
