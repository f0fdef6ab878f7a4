"""Performance profiles: who is how often how near to the best."""

from collections.abc import Iterator, Mapping
import functools
import itertools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments.reporting.figures import kind
from experiments.reporting.plots import style
from experiments.reporting.tables import ratios
from experiments.studies import profiles
from experiments.studies.loading import Published

# How many of the best arms have names and colours.
_NAMED = 7
_LARGEST = 4.0
_POINTS = 301


def _note(study: Published) -> str:
  """What there is: times of conditions with a target, errors of streams."""
  found = study.conditions.values()
  shares = [
    'The share of the conditions under which an arm reaches the target within '
    'a factor of the fastest arm’s time, by steps and by seconds.',
    'The share of the streams on which the error of an arm (what its accuracy '
    'lacks of 100 %) is within a factor of the best arm’s.',
  ]
  there = [
    any(each.target is not None for each in found),
    any(each.stream for each in found),
  ]
  return ' '.join(
    [
      *itertools.compress(shares, there),
      'The best arms by the area under the profile are named, the others grey. '
      'Arms that are not there under every condition are left out.',
    ]
  )


@kind.register(
  70,
  'Performance profiles',
  _note,
  'A profile needs at least two streams, or two conditions with a target, and '
  'an arm that is there under all of them.',
)
def profile(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every ruleset."""
  for ruleset in kind.rulesets(study):
    found = {
      measure: costs
      for measure in ratios.MEASURES
      if (costs := ratios.costs(study, ruleset, measure)) is not None
    }
    if found:
      yield kind.Drawing(
        (ruleset,),
        f'Performance profiles of all arms, {ruleset}; tables have the scores.',
        functools.partial(_draw, found, f'Performance profile: {ruleset}'),
      )


def _draw(found: Mapping[str, pd.DataFrame], title: str) -> Figure:
  figure = Figure(figsize=(5.6 * len(found), 3.9), layout='constrained')
  axes = figure.subplots(1, len(found), squeeze=False)[0]
  for place, (measure, costs) in zip(axes, found.items(), strict=True):
    # Errors are seldom multiples; one arm that fails is not to hide that.
    _panel(place, costs, 0.9 if measure == ratios.ERROR else 1.0)
    place.set_title(f'by {measure}, {costs.shape[1]} conditions')
    best = 'best' if measure == ratios.ERROR else 'fastest'
    place.set_xlabel(f'{measure}, as a multiple of the {best} arm’s')
  axes[0].set_ylabel('share of the conditions (%)')
  style.title(figure, title)
  return figure


def _panel(axes: Axes, costs: pd.DataFrame, shown: float) -> None:
  """Draws the profiles, up to the ratio below which a share of them lies."""
  found = profiles.ratios(costs)
  finite = found[np.isfinite(found)]
  slowest = float(np.quantile(finite, shown)) if len(finite) else 1.0
  largest = float(np.clip(1.05 * slowest, 1.2, _LARGEST))
  factors = np.linspace(1, largest, _POINTS)
  shares = 100 * profiles.profile(costs, factors)
  best = np.argsort(-profiles.score(costs), kind='stable')
  axes.set_xlim(1 - 0.01 * (largest - 1), largest)
  axes.set_ylim(-3, 103)
  for i in best[_NAMED:]:
    _step(axes, factors, shares[i], color=style.GREY, linewidth=0.7)
  for place, i in enumerate(best[:_NAMED]):
    _step(
      axes,
      factors,
      shares[i],
      **style.of(place),
      # Lines that lie on one another are all seen.
      linewidth=3.4 - 0.35 * place,
      zorder=3 + 0.1 * place,
      label=f'{place + 1}. {costs.index[i]}',
    )
  style.legend(axes)


def _step(axes: Axes, x: np.ndarray, y: np.ndarray, **how: Any) -> None:
  """Draws a line of steps, by its corners alone."""
  kept = np.flatnonzero(np.diff(y, prepend=np.nan) != 0)
  kept = np.append(kept, len(x) - 1)
  axes.step(x[kept], y[kept], where='post', **how)
