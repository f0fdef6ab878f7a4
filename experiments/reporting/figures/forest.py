"""Paired differences with their intervals, a row each: forest plots."""

from collections.abc import Collection, Iterator, Sequence
import functools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np
import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting import numbers
from experiments.reporting.figures import kind
from experiments.reporting.plots import families
from experiments.reporting.plots import style
from experiments.reporting.tables import differences
from experiments.studies.loading import Published

# Conditions with so few arms are rows of one picture.
_FEW = 2
_ROW = 0.2  # Inches.
_LEVEL = 0.05
# How many times the usual reach is shown; what is beyond is at the edge.
_FAR = 3.0
_ENDS = ['mean_difference', 'ci_low', 'ci_high']


def _note(study: Published) -> str:
  return (
    f'Mean difference in {accuracies.common(accuracies.compared_in(study))} '
    'over the seeds that both arms have, with its 95 % t interval. A filled '
    'marker means p < 0.05 after Holm’s procedure. An arrow at the edge means '
    'that the value lies beyond it; the number says where.'
  )


@kind.register(
  10,
  'Paired differences',
  _note,
  'There is no comparison with a reference (comparisons.csv has no rows).',
)
def forest(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every reference and condition."""
  for reference, own in study.comparisons.groupby('reference', sort=False):
    here = {x: _paired(own[own['condition'] == x]) for x in study.conditions}
    few = [x for x, rows in here.items() if 0 < rows['arm'].nunique() <= _FEW]
    few *= len(few) > 1
    for condition, rows in here.items():
      if condition not in few and len(rows):
        yield drawing(rows, str(reference), condition)
    if few:
      rows = pd.concat(here[condition] for condition in few)
      for arm, same in rows.groupby('arm', sort=False):
        yield drawing(same, str(reference), str(arm), by='condition')


@kind.register(
  20,
  'One change at a time',
  'Each variant of the method against the whole method: left of zero, the '
  'change costs accuracy. Where they were tuned, their other numbers differ, '
  'too. Holm’s procedure is over the variants alone.',
  'The study has no variants of the method to compare with the whole.',
)
def ablation(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that has several variants."""
  rows = differences.of_variants(study)
  for condition in study.conditions:
    own = _paired(rows[rows['condition'] == condition])
    # The forest of differences shows a single variant.
    if own['arm'].nunique() > 1:
      yield drawing(own, own['reference'].iloc[0], condition)


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
  """Comparisons, or none where not one of them has a pair of seeds yet."""
  return rows if rows['n'].any() else rows[:0]


def drawing(
  rows: pd.DataFrame, reference: str, name: str, by: str = 'arm'
) -> kind.Drawing:
  """A picture of rows of `comparisons.csv` with one reference.

  Their condition, or arm, is `name`; they differ in the other, `by`.
  """
  what = name if by == 'arm' else f'{name} under each condition'
  return kind.Drawing(
    (name, reference),
    f'Differences to {reference} with intervals, {what}; the table of paired '
    'differences has the numbers.',
    functools.partial(_draw, rows.assign(label=rows[by]), reference, what),
  )


def _draw(rows: pd.DataFrame, reference: str, what: str) -> Figure:
  """A panel for each ruleset, the largest difference under the last first."""
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
    place.set_xlabel(f'difference to {reference} (points)')
  axes[0].set_yticks(range(len(order)), order)
  axes[0].set_ylim(len(order) - 0.4, -0.6)
  style.title(figure, f'Difference to {reference}: {what}')
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
  none: list[float] = []
  handles = [
    Line2D(
      none, none, ls='', marker=marker, color=colour, mfc=fill, label=label
    )
    for marker, colour, fill, label in marks
  ]
  figure.legend(
    handles=handles, loc='outside lower left', ncols=4, fontsize=style.SMALL
  )
