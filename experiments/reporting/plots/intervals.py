"""Differences with their intervals, a row each, side by side by ruleset."""

from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np
import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.plots import style

_ROW = 0.2  # Inches.
_LEVEL = 0.05
# How many times the usual reach is shown; what is beyond is at the edge.
_FAR = 3.0
_ENDS = ['mean_difference', 'ci_low', 'ci_high']


def draw(rows: pd.DataFrame, title: str, x: str) -> Figure:
  """Draws a forest, the largest difference under the last ruleset first.

  Args:
    rows: those of `comparisons.csv`, with a `label` that is one of its kind
      under each ruleset.
    title: what stands above.
    x: what the differences are, in points.

  Returns:
    The picture.
  """
  rows = rows.assign(family=rows['arm'].map(families.of))
  rows[_ENDS] *= 100
  last = rows.drop_duplicates('label', keep='last')
  order = last.sort_values(_ENDS[0], ascending=False, kind='stable')['label']
  panels = rows.groupby('ruleset', sort=False)
  figure = Figure(
    figsize=(1.8 + 4.6 * len(panels), 1.5 + _ROW * len(order)),
    layout='constrained',
  )
  axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
  limits = _limits(rows)
  for place, (ruleset, own) in zip(axes, panels, strict=True):
    place.set_xlim(*limits)
    by_label = {row.label: row for row in own.itertuples()}
    _panel(place, [by_label.get(label) for label in order])
    place.set_title(str(ruleset))
    place.set_xlabel(x)
  axes[0].set_yticks(range(len(order)), order)
  axes[0].set_ylim(len(order) - 0.4, -0.6)
  style.title(figure, title)
  _legend(figure, {*rows['family']})
  return figure


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
  whole = rows[_ENDS].dropna().to_numpy().ravel()
  ends = whole if len(whole) else rows[_ENDS[0]].dropna().to_numpy()
  if not len(ends):
    return -1.0, 1.0
  usual = max(float(np.quantile(np.abs(ends), 0.75)), 0.1)
  shown = np.clip(ends, -_FAR * usual, _FAR * usual)
  low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
  margin = 0.05 * (high - low)
  return float(low - margin), float(high + margin)


def _panel(axes: Axes, rows: Sequence[Any]) -> None:
  axes.axvline(0, color=style.TEXT, linewidth=0.9, zorder=1)
  axes.tick_params(axis='y', length=0)
  axes.grid(axis='y', visible=False)
  for y, row in enumerate(rows):
    if y % 2:
      axes.axhspan(y - 0.5, y + 0.5, color='#f6f6f6', zorder=0, linewidth=0)
    text = ''
    if row is not None:
      text = 'no pairs'
      if np.isfinite(row.mean_difference):
        ends = row.mean_difference, row.ci_low, row.ci_high
        text = numbers.difference(*ends)
        _row(axes, y, row, *ends)
    axes.annotate(
      text,
      xy=(1.01, y),
      xycoords=('axes fraction', 'data'),
      va='center',
      fontsize=style.SMALL,
    )


def _row(
  axes: Axes, y: int, row: Any, x: float, start: float, end: float
) -> None:
  colour = families.COLOUR[row.family]
  low, high = axes.get_xlim()
  marker = families.MARKER[row.family]
  if not low <= x <= high:
    marker, x = ('<', low) if x < low else ('>', high)
  elif np.isfinite(start) and np.isfinite(end):
    axes.plot([start, end], [y, y], color=colour, linewidth=1.6)
  axes.plot(
    x,
    y,
    marker,
    color=colour,
    markerfacecolor=colour if row.p_holm < _LEVEL else 'white',
    markersize=5.5,
    markeredgewidth=1.3,
    clip_on=False,
    zorder=4,
  )


def _legend(figure: Figure, there: Collection[str]) -> None:
  marks = [
    (families.MARKER[x], families.COLOUR[x], families.COLOUR[x], x)
    for x in families.FAMILIES
    if x in there
  ]
  marks += [
    ('o', style.TEXT, style.TEXT, f'p (Holm) < {_LEVEL:g}'),
    ('o', style.TEXT, 'white', f'p (Holm) ≥ {_LEVEL:g}'),
  ]
  handles = [
    Line2D(
      *([], []),
      linestyle='',
      marker=marker,
      color=colour,
      markerfacecolor=fill,
      label=label,
    )
    for marker, colour, fill, label in marks
  ]
  figure.legend(
    handles=handles, loc='outside lower left', ncols=4, fontsize=style.SMALL
  )
