"""What α did in every layer."""

from collections.abc import Iterator, Mapping
import functools
import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
import pandas as pd

from experiments.reporting.figures import kind
from experiments.reporting.plots import lines
from experiments.reporting.plots import style
from experiments.studies.declarations import DEFAULT
from experiments.studies.loading import Published

_COLUMNS = 6
# A legend distinguishes so many layers.
_MANY = 10
# Grids of conditions would have hundreds of panels.
_CONDITIONS = 4
Arms = Mapping[str, pd.DataFrame]


@kind.register(
  80,
  'What α did',
  'Of the last update of each epoch, or of each task of a stream, means over '
  'the seeds that stayed finite: the mean α of every layer, and the share of '
  'all elements whose α lies within 5 % of the range of a bound, or beyond it; '
  'α is that before a rule scales it to mean 1 or to a norm. '
  'Where an arm ran with its defaults, it is drawn with them. Of a study '
  f'with more than {_CONDITIONS} conditions, the first {_CONDITIONS} are '
  'drawn; alpha.csv has all of them.',
  'There are no diagnostics of α: no arm has an α, or alpha.csv is missing or '
  'empty.',
)
def alpha(study: Published) -> Iterator[kind.Drawing]:
  """Two pictures for each of the first conditions."""
  found: dict[str, dict[str, pd.DataFrame]] = {}
  for (condition, ruleset), arms in kind.by_arm(study, study.alpha).items():
    # The default ruleset where an arm ran under it, else the first.
    own = found.setdefault(condition, {})
    own |= arms if ruleset == DEFAULT else {**arms, **own}
  for condition, arms in [*found.items()][:_CONDITIONS]:
    x = 'task' if study.conditions[condition].stream else 'epoch'
    yield kind.Drawing(
      (condition, 'mean'),
      f'Mean α of every layer over {x}s, for every arm, {condition}.',
      functools.partial(_means, arms, f'Mean α by layer: {condition}', x),
    )
    yield kind.Drawing(
      (condition, 'bounds'),
      f'Share of elements whose α is at a bound, for every arm, {condition}.',
      functools.partial(_bounds, arms, f'α at its bounds: {condition}', x),
    )


def _means(arms: Arms, title: str, x: str) -> Figure:
  columns = min(_COLUMNS, len(arms))
  rows = math.ceil(len(arms) / columns)
  leaves = [*pd.concat(arms.values())['leaf'].unique()]
  figure = Figure(
    figsize=(max(2.0 * columns + 0.5, 4.5), 1.5 * rows + 1.2),
    layout='constrained',
  )
  axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
  for place, (arm, own) in zip(axes.flat, arms.items(), strict=False):
    _layers(place, own, leaves)
    place.set_title(arm, fontsize=style.SMALL)
  lines.trim(axes, len(arms), x, 'mean α')
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
  axes.axhline(1, color=style.GREY, linewidth=0.8)
  for i, leaf in enumerate(leaves):
    own = rows[rows['leaf'] == leaf].sort_values('epoch')
    axes.plot(
      own['epoch'],
      own['alpha_mean'],
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


def _bounds(arms: Arms, title: str, x: str) -> Figure:
  figure = Figure(figsize=(9, 1.3 + 0.2 * len(arms)), layout='constrained')
  axes = figure.subplots(1, 2, sharey=True)
  for place, end, name in zip(
    axes, ('min', 'max'), ('lower', 'upper'), strict=True
  ):
    for y, rows in enumerate(arms.values()):
      first, last = rows['epoch'].min(), rows['epoch'].max()
      ends = [
        _share(rows[rows['epoch'] == epoch], f'alpha_fraction_near_{end}')
        for epoch in (first, last)
      ]
      place.plot(ends, [y, y], color=style.GREY, zorder=1)
      for which, share, fill in zip(
        ('first', 'last'), ends, ('white', style.COLOURS[0]), strict=True
      ):
        place.plot(
          share,
          y,
          'o',
          color=style.COLOURS[0],
          markerfacecolor=fill,
          clip_on=False,
          label=f'{which} {x}',
        )
    place.set_xlim(left=0)
    place.set_xlabel('elements (%)')
    place.set_title(f'at the {name} bound')
  axes[0].set_yticks(range(len(arms)), arms)
  axes[0].set_ylim(len(arms) - 0.4, -0.6)
  handles, names = axes[0].get_legend_handles_labels()
  figure.legend(handles[:2], names[:2], loc='outside lower left', ncols=2)
  style.title(figure, title)
  return figure


def _share(rows: pd.DataFrame, name: str) -> float:
  """The share of all elements, in percent."""
  return 100 * float(np.average(rows[name], weights=rows['elements']))
