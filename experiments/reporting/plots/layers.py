"""What α did in one arm of a run, epoch by epoch and layer by layer."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.reporting.plots import style
from experiments.reporting.plots.style import COLOURS
from experiments.training.records import Diagnostics
from experiments.training.records import HISTOGRAM

_MANY = 8  # More layers than this a legend does not tell apart.


def draw(
  diagnostics: Diagnostics,
  bounds: tuple[float, float],
  title: str,
  unit: str = 'epoch',
) -> Figure:
  """Draws six panels over epochs: means over seeds, of each epoch's last step.

  Seeds that diverged are left out, unless all did.

  Args:
    diagnostics: of one arm.
    bounds: α_min and α_max, the range of the histogram.
    title: what stands above.
    unit: what an epoch is called.

  Returns:
    The picture.
  """
  figure = Figure(figsize=(15, 8.4), layout='constrained')
  axes = figure.subplots(2, 3)
  values, leaves = diagnostics.means(), diagnostics.leaves
  distribution(axes[0, 0], diagnostics, bounds)
  _clipped(axes[0, 2], values)
  norms = {x: values[f'{x}_norm'] for x in ('update', 'gradient', 'parameter')}
  with np.errstate(divide='ignore', invalid='ignore'):
    ratio = norms['update'] / norms['gradient']
    step = norms['update'] / norms['parameter']
  multiplier = values['controller_multiplier']
  for place, shown, label, log in (
    (axes[0, 1], values['alpha_mean'], 'mean α', False),
    (axes[1, 0], ratio, 'update norm / gradient norm', True),
    (axes[1, 1], step, 'update norm / parameter norm', True),
    (axes[1, 2], multiplier, 'controller multiplier', False),
  ):
    _by_layer(place, shown, leaves, label, log=log)
  for each in axes.flat:
    each.set_xlabel(unit)
    each.xaxis.set_major_locator(MaxNLocator(integer=True))
  figure.suptitle(title)
  return figure


def distribution(
  axes: Axes, diagnostics: Diagnostics, bounds: tuple[float, float]
) -> None:
  """Draws a heat map: the share of all elements in each bin of α, by epoch.

  Args:
    axes: where.
    diagnostics: of one arm.
    bounds: α_min and α_max, the range of the histogram.
  """
  counts = diagnostics.means()[HISTOGRAM].sum(axis=1)
  share = 100 * counts / counts.sum(axis=1, keepdims=True)
  low, high = bounds
  image = axes.imshow(
    share.T,
    origin='lower',
    aspect='auto',
    cmap=style.MAP,
    norm='log',
    extent=(0.5, len(counts) + 0.5, low, high),
    interpolation='nearest',
  )
  axes.set_facecolor('white')  # Empty bins.
  axes.set_ylabel('α (ends: beyond the bounds too)')
  axes.set_title('distribution of α, all layers')
  axes.figure.colorbar(image, ax=axes, label='elements in the bin (%)')


def _by_layer(
  axes: Axes,
  values: np.ndarray,
  leaves: list[str],
  label: str,
  *,
  log: bool = False,
) -> None:
  """A line for each layer, or a heat map where there are too many."""
  epochs = 1 + np.arange(len(values))
  values = np.ma.masked_invalid(values)
  # There is no logarithm of nothing at all.
  log = log and bool(np.any(values > 0))
  axes.set_title(f'{label}, by layer')
  if len(leaves) > _MANY:
    image = axes.imshow(
      values.T,
      aspect='auto',
      cmap=style.MAP,
      norm='log' if log else None,
      extent=(0.5, len(values) + 0.5, len(leaves) - 0.5, -0.5),
      interpolation='nearest',
    )
    axes.figure.colorbar(image, ax=axes, label=label)
    axes.set_yticks(range(len(leaves)), leaves, fontsize=5)
    return
  for i, leaf in enumerate(leaves):
    axes.plot(epochs, values[:, i], marker='.', label=leaf, **style.of(i))
  axes.set_ylabel(label)
  if log:
    axes.set_yscale('log')
  else:
    axes.ticklabel_format(axis='y', useOffset=False)
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)


def _clipped(axes: Axes, values: dict[str, np.ndarray]) -> None:
  """The share of all elements near each bound, or beyond it."""
  weights = values[HISTOGRAM].sum(axis=2)
  weights = weights / weights.sum(axis=1, keepdims=True)
  epochs = 1 + np.arange(len(weights))
  for name, colour, dashes, label in (
    ('alpha_fraction_near_min', COLOURS[0], '-', 'near or below min_alpha'),
    ('alpha_fraction_near_max', COLOURS[1], '--', 'near or above max_alpha'),
  ):
    share = 100 * (weights * values[name]).sum(axis=1)
    axes.plot(epochs, share, dashes, color=colour, marker='.', label=label)
  axes.set_ylabel('elements (%)')
  axes.set_ylim(bottom=0)
  axes.set_title('α at its bounds (within 5 % of the range)')
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
