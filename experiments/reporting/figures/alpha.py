"""What α did in every layer."""

from collections.abc import Iterator, Mapping
import functools

from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments.reporting.figures import kind
from experiments.reporting.plots import layers
from experiments.reporting.plots import style
from experiments.studies.declarations import DEFAULT
from experiments.studies.loading import Published

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
      functools.partial(
        layers.draw,
        {
          arm: own.rename(columns={'epoch': 'x', 'alpha_mean': 'y'})
          for arm, own in arms.items()
        },
        *(f'Mean α by layer: {condition}', x, 'mean α', 1),
      ),
    )
    yield kind.Drawing(
      (condition, 'bounds'),
      f'Share of elements whose α is at a bound, for every arm, {condition}.',
      functools.partial(_bounds, arms, f'α at its bounds: {condition}', x),
    )


def _bounds(arms: Arms, title: str, x: str) -> Figure:
  figure = Figure(figsize=(9, 1.3 + 0.2 * len(arms)), layout='constrained')
  axes = figure.subplots(1, 2, sharey=True)
  colour = style.COLOURS[0]
  for place, end in zip(axes, ('min', 'max'), strict=True):
    for y, rows in enumerate(arms.values()):
      epochs = rows['epoch'].min(), rows['epoch'].max()
      ends = [_near(rows[rows['epoch'] == epoch], end) for epoch in epochs]
      place.plot(ends, [y, y], color=style.GREY, zorder=1)
      look = {'color': colour, 'clip_on': False}
      place.plot(ends[0], y, 'o', mfc='white', label=f'first {x}', **look)
      place.plot(ends[1], y, 'o', label=f'last {x}', **look)
    place.set_xlim(left=0)
    place.set_xlabel('elements (%)')
    place.set_title(f'at the {"lower" if end == "min" else "upper"} bound')
  axes[0].set_yticks(range(len(arms)), arms)
  axes[0].set_ylim(len(arms) - 0.4, -0.6)
  handles, names = axes[0].get_legend_handles_labels()
  figure.legend(handles[:2], names[:2], loc='outside lower left', ncols=2)
  style.title(figure, title)
  return figure


def _near(rows: pd.DataFrame, end: str) -> float:
  """The share of all elements near a bound, in percent."""
  shares = rows[f'alpha_fraction_near_{end}']
  return 100 * float(np.average(shares, weights=rows['elements']))
