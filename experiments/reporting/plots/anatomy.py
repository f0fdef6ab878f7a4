"""The picture of what steps are made of."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments.reporting.plots import style


def draw(rates: pd.DataFrame, steps: pd.DataFrame, title: str) -> Figure:
  """Four panels; the upper ones compare the arms in the largest tensor.

  Above: what gradients of each size are multiplied by; and how many elements
  carry the step, before and after a task begins. Below, for the last arm: the
  rate of each tensor then, in units of its mean before; and how unequal the
  rates of its elements are. The rows are those of `rates.csv` and `steps.csv`.
  """
  figure = Figure(figsize=(12, 7.5), layout='constrained')
  (by_size, width), (tensors, spread) = figure.subplots(2, 2)
  steps = steps.assign(
    carriers=100 * steps['step_carriers'],
    rate=(steps['step_rms'] / steps['gradient_rms']).where(
      steps['gradient_rms'] != 0, 0.0
    ),
  )
  largest = steps.loc[steps['size'].idxmax(), 'leaf']
  arms = rates['arm'].unique()
  for index, arm in enumerate(arms):
    look = style.of(index) | {'label': arm}
    own = rates[(rates['arm'] == arm) & (rates['leaf'] == largest)]
    # In the middle of each bin; what few elements did is noise.
    own = own[own['elements'] > 1e-5]
    by_size.plot(own['size'] * np.sqrt(2), own['rate'], **look)
    own = steps[(steps['arm'] == arm) & (steps['leaf'] == largest)]
    means = own.groupby('update')['carriers'].mean()
    width.plot(means.index, means, **look)
  last = steps[steps['arm'] == arms[-1]]
  for index, leaf in enumerate(last['leaf'].unique()):
    look = style.of(index) | {'label': leaf}
    own = last[last['leaf'] == leaf].groupby('update')
    means = own['rate'].mean()
    before = means[means.index < 0]
    start = before.mean() if len(before) else means.iloc[0]
    tensors.plot(means.index, means / start, **look)
    unequal = own['rate_spread'].mean()
    spread.plot(unequal.index, unequal, **look)
  _label_above(by_size, width, largest)
  _label_below(tensors, spread, arms[-1])
  for axes in (width, tensors, spread):
    axes.axvline(0, color='#888888', linewidth=0.8)
    axes.set_xlabel('updates since a task began')
  for axes in (by_size, width, tensors, spread):
    axes.grid(alpha=0.3)
  for axes in (width, spread):
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))
  figure.suptitle(title)
  return figure


def _label_above(by_size: Axes, width: Axes, leaf: str) -> None:
  by_size.set_xscale('log', base=2)
  rates = np.concatenate([np.ravel(x.get_ydata()) for x in by_size.lines])
  # Where elements climb, a logarithm would leave them out.
  by_size.set_yscale('log' if (rates > 0).all() else 'linear')
  by_size.set_xlabel('|g| / rms(g)')
  by_size.set_ylabel('−Δw / g')
  by_size.set_title(f'rate of small and large gradients in {leaf}')
  width.set_ylabel('elements that carry the step (%)')
  width.set_ylim(bottom=0)
  width.set_title(f'width of the step in {leaf}')


def _label_below(tensors: Axes, spread: Axes, arm: str) -> None:
  tensors.set_ylabel('rms(Δw) / rms(g), 1 before it began')
  tensors.set_title(f'rate of each tensor, {arm}')
  spread.set_ylabel('sd / mean of −Δw / g')
  spread.set_ylim(bottom=0)
  spread.set_title(f'spread of rates within each tensor, {arm}')
