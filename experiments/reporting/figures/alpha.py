"""What α did in every layer."""

from collections.abc import Iterator, Mapping
import functools
import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.pictures import COLOURS
from experiments.reporting.pictures import STYLES
from experiments.reporting.plots import style
from experiments.studies.declarations import DEFAULT
from experiments.studies.reading import Published
from experiments.studies.reading import Row

_COLUMNS = 6
# Layers that a legend tells apart.
_MANY = 10
# Grids of conditions would have hundreds of panels.
_CONDITIONS = 4
Arms = dict[str, list[Row]]


@register(
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
def alpha(study: Published) -> Iterator[Drawing]:
  """Two pictures for each of the first conditions."""
  drawn = 0
  for condition, each in study.conditions.items():
    arms = _rows(study, condition)
    if not arms or drawn == _CONDITIONS:
      continue
    drawn += 1
    x = 'task' if each.stream else 'epoch'
    yield Drawing(
      (condition, 'mean'),
      f'Mean α of every layer over {x}s, for every arm, {condition}.',
      functools.partial(_means, arms, f'Mean α by layer: {condition}', x),
    )
    yield Drawing(
      (condition, 'bounds'),
      f'Share of elements whose α is at a bound, for every arm, {condition}.',
      functools.partial(_bounds, arms, f'α at its bounds: {condition}', x),
    )


def _rows(study: Published, condition: str) -> Arms:
  """By arm, the rows of one ruleset: the default, or the first it ran under."""
  found: dict[str, dict[str, list[Row]]] = {}
  for row in study.alpha:
    if row['condition'] == condition:
      by_ruleset = found.setdefault(row['arm'], {})
      by_ruleset.setdefault(row['ruleset'], []).append(row)
  return {
    arm: rows.get(DEFAULT) or next(iter(rows.values()))
    for arm, rows in found.items()
  }


def _means(arms: Arms, title: str, x: str) -> Figure:
  columns = min(_COLUMNS, len(arms))
  rows = math.ceil(len(arms) / columns)
  leaves = [*dict.fromkeys(row['leaf'] for x in arms.values() for row in x)]
  figure = Figure(
    figsize=(max(2.0 * columns + 0.5, 4.5), 1.5 * rows + 1.2),
    layout='constrained',
  )
  axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
  for place, (arm, own) in zip(axes.flat, arms.items(), strict=False):
    _layers(place, own, leaves)
    place.set_title(arm, fontsize=style.SMALL)
  for place in axes.flat[len(arms) :]:
    place.remove()
  for place in axes[:, 0]:
    place.set_ylabel('mean α')
  for i, place in enumerate(axes.flat[: len(arms)]):
    if i + columns >= len(arms):
      place.tick_params(labelbottom=True)
      place.set_xlabel(x)
  figure.suptitle(title, x=0.01, ha='left', fontsize=11)
  if len(leaves) <= _MANY:
    figure.legend(
      *axes[0, 0].get_legend_handles_labels(),
      loc='outside lower left',
      ncols=min(4, columns),
      fontsize=style.SMALL,
    )
  return figure


def _layers(axes: Axes, rows: list[Row], leaves: list[str]) -> None:
  axes.axhline(1, color=style.GREY, linewidth=0.8)
  for i, leaf in enumerate(leaves):
    own = sorted(
      (row for row in rows if row['leaf'] == leaf), key=lambda x: x['epoch']
    )
    axes.plot(
      [row['epoch'] for row in own],
      [row['alpha_mean'] for row in own],
      STYLES[(i // len(COLOURS)) % len(STYLES)] if i >= len(COLOURS) else '-',
      # Of many layers the first are blue and the last yellow.
      color=COLOURS[i % len(COLOURS)]
      if len(leaves) <= _MANY
      else _gradual(i, len(leaves)),
      linewidth=1,
      label=leaf,
    )
  axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
  axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _gradual(i: int, count: int) -> tuple[float, ...]:
  return matplotlib.colormaps['cividis'](i / max(count - 1, 1))


def _bounds(arms: Arms, title: str, x: str) -> Figure:
  figure = Figure(figsize=(9, 1.3 + 0.2 * len(arms)), layout='constrained')
  axes = figure.subplots(1, 2, sharey=True)
  for place, end, name in zip(
    axes, ('min', 'max'), ('lower', 'upper'), strict=True
  ):
    for y, rows in enumerate(arms.values()):
      share = _shares(rows, f'alpha_fraction_near_{end}')
      epochs = sorted(share)
      place.plot(
        [share[epochs[0]], share[epochs[-1]]],
        [y, y],
        color=style.GREY,
        zorder=1,
      )
      for epoch, fill in ((epochs[0], 'white'), (epochs[-1], COLOURS[0])):
        place.plot(
          share[epoch],
          y,
          'o',
          color=COLOURS[0],
          markerfacecolor=fill,
          clip_on=False,
          label=f'{"first" if fill == "white" else "last"} {x}',
        )
    place.set_xlim(left=0)
    place.set_xlabel('elements (%)')
    place.set_title(f'at the {name} bound')
  axes[0].set_yticks(range(len(arms)), arms)
  axes[0].set_ylim(len(arms) - 0.4, -0.6)
  handles, names = axes[0].get_legend_handles_labels()
  figure.legend(handles[:2], names[:2], loc='outside lower left', ncols=2)
  figure.suptitle(title, x=0.01, ha='left', fontsize=11)
  return figure


def _shares(rows: list[Row], name: str) -> Mapping[int, float]:
  """By epoch, the share of all elements in percent."""
  found = {}
  for epoch in {row['epoch'] for row in rows}:
    own = [row for row in rows if row['epoch'] == epoch]
    weights = [row['elements'] for row in own]
    values = [row[name] for row in own]
    found[epoch] = 100 * float(np.average(values, weights=weights))
  return found
