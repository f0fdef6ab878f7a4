"""The pictures of a run, of the same parts as those of studies."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments import errors
from experiments import optimizers
from experiments.reporting import quantities
from experiments.reporting.figures import tasks
from experiments.reporting.plots import grids
from experiments.reporting.plots import lines
from experiments.reporting.plots import maps
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.training.records import Diagnostics
from experiments.training.records import HISTOGRAM
from experiments.training.records import History
from experiments.training.run import Run
from experiments.training.stream_engine import evaluated_after

Histories = Mapping[str, History]
Bounds = tuple[float, float]  # α_min and α_max, the range of a histogram.
_SHOWN = ', mean over seeds and 95 % t interval'
_MANY = 8  # More layers than this a legend does not tell apart.


def draw(run: Run, say: Callable[[str], None]) -> list[str]:
  """Draws all pictures into the run directory; returns the names of the files.

  Each appears whole. A sentence is said of each that cannot be drawn.

  Raises:
    StorageError: one cannot be written.
  """
  drawn = []
  for name, look, dpi, make in _pictures(run):
    try:
      with look:
        saving.save(make(), run.workdir / name, dpi)
      drawn.append(name)
    except errors.UserError:
      raise
    # Whatever Matplotlib meets, a run has its results.
    except Exception as e:
      say(f'{name} cannot be drawn: {type(e).__name__}: {e}')
  return drawn


def _pictures(
  run: Run,
) -> Iterator[
  tuple[str, contextlib.AbstractContextManager[Any], int, Callable[[], Figure]]
]:
  """Of each picture its file, its style, its dots per inch, what draws it."""
  by_label = {label: each.history for label, each in run.variants().items()}
  # α of a grid would have too many pictures to be looked at.
  alphas = {
    arm: optimizers.ARMS[arm].alpha_bounds or (0.0, 1.0)
    for arm, history in run.histories.items()
    if history.diagnostics.epochs and len(run.config.combinations) == 1
  }
  if run.tasks:
    kinds = {'stream': stream}
    if any(each.evaluations.size for each in by_label.values()):
      first = functools.partial(first_task, updates=run.tasks.updates)
      kinds |= {'forgetting': forgetting, 'first_task': first}
    for name, make in kinds.items():
      drawn = functools.partial(make, by_label, title=run.title)
      yield f'{name}.png', style.report(name), 110, drawn
  else:
    drawn = functools.partial(curves, by_label, run.title)
    yield 'curves.png', style.plain(), 120, drawn
    for arm, bounds in [*alphas.items()][:1]:
      drawn = functools.partial(overview, run.histories, arm, bounds, run.title)
      yield 'overview.png', style.plain(), 120, drawn
  for arm, bounds in alphas.items():
    found, title = run.histories[arm].diagnostics, f'{arm}: {run.title}'
    drawn = functools.partial(layers, found, bounds, title, run.config.unit)
    yield f'diagnostics/{arm}.png', style.plain(), 110, drawn


def curves(histories: Histories, title: str) -> Figure:
  """Accuracy and loss over epochs, mean ± sd of each arm."""
  figure = Figure(figsize=(10, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  _accuracy(left, histories)
  for index, (arm, history) in enumerate(histories.items()):
    _band(right, history['train_loss'][~history.diverged()], arm, index)
  right.set_ylabel('training loss (nats)')
  if any(np.any(h['train_loss'] > 0) for h in histories.values()):
    right.set_yscale('log')
  right.grid(alpha=0.3)
  _by_epoch(right)
  figure.suptitle(title)
  return figure


def overview(
  histories: Histories, arm: str, bounds: Bounds, title: str
) -> Figure:
  """The test accuracy of all arms, beside the distribution of α of one."""
  figure = Figure(figsize=(11, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  _accuracy(left, histories)
  left.set_title('test accuracy')
  _distribution(right, histories[arm].diagnostics.means(), bounds)
  right.set_title(f'distribution of α in {arm}, all layers')
  _by_epoch(right)
  figure.suptitle(title)
  return figure


def _accuracy(axes: Axes, histories: Histories) -> None:
  """Plots the test accuracy of every arm, with a legend."""
  for index, (arm, history) in enumerate(histories.items()):
    # An arm without a finite seed has a place in the legend all the same.
    finite = ~history.diverged()
    _band(axes, 100 * history['test_accuracy'][finite], arm, index)
  axes.set_ylabel('test accuracy (%)')
  axes.grid(alpha=0.3)
  _by_epoch(axes)
  legend = axes.legend(
    title='mean ± sd over seeds',
    loc='lower right',
    ncols=math.ceil(len(histories) / 10),
  )
  legend.set_in_layout(False)  # However many arms, the axes keep their size.


def _band(axes: Axes, values: np.ndarray, label: str, index: int) -> None:
  """Plots the mean over seeds, [seeds, epochs], and their sd around it."""
  x, look = 1 + np.arange(values.shape[1]), style.of(index)
  mean = values.mean(0) if len(values) else np.full(len(x), np.nan)
  axes.plot(x, mean, label=label, marker='.', **look)
  if len(values) > 1:
    sd, colour = values.std(0, ddof=1), look['color']
    ends = mean - sd, mean + sd
    axes.fill_between(x, *ends, color=colour, alpha=0.15, linewidth=0)


def _by_epoch(axes: Axes, unit: str = 'epoch') -> None:
  axes.set_xlabel(unit)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def stream(histories: Histories, title: str) -> Figure:
  """What every arm measured of a stream, task by task."""
  finite = _finite(histories)
  found = {
    each.name: {
      arm: lines.over_seeds(values[each.name], factor=each.factor)
      for arm, values in finite.items()
    }
    for each in quantities.BY_TASK
  }
  lost = {*histories} - {*finite}
  return grids.draw(
    found, tuple(histories), lost, f'Task by task{_SHOWN}: {title}'
  )


def forgetting(histories: Histories, title: str) -> Figure:
  """The accuracy of every arm on each task after each task."""
  finite = _finite(histories)
  matrices = {
    arm: finite[arm].evaluations[:, :, -1].mean(0)
    if arm in finite
    else np.full_like(history.evaluations[0, :, -1], np.nan)
    for arm, history in histories.items()
  }
  return maps.draw(matrices, f'After each task: {title}')


def first_task(histories: Histories, updates: int, title: str) -> Figure:
  """The accuracy on the first task, at every evaluation."""
  within = np.array(evaluated_after(updates)) / updates
  found = {}
  for arm, history in histories.items():
    # An arm that diverged has a name and no line.
    seeds = history.evaluations[~history.diverged()][..., 0]
    x = (np.arange(history.epochs)[:, None] + within).ravel()
    found[arm] = lines.over_seeds(seeds.reshape(len(seeds), len(x)), x, 100)
  return lines.draw(
    found,
    tuple(histories),
    tasks.FIRST_TASK,
    f'The first task{_SHOWN}: {title}',
  )


def _finite(histories: Histories) -> Histories:
  """The arms of which seeds stayed finite, with those seeds."""
  found = {}
  for arm, history in histories.items():
    if not history.diverged().all():
      found[arm] = history.part(~history.diverged())
  return found


def layers(
  diagnostics: Diagnostics, bounds: Bounds, title: str, unit: str
) -> Figure:
  """What α did in one arm: means over seeds, of each epoch's last step.

  Seeds that diverged are left out, unless all did.
  """
  figure = Figure(figsize=(15, 8.4), layout='constrained')
  axes = figure.subplots(2, 3)
  values, leaves = diagnostics.means(), diagnostics.leaves
  _distribution(axes[0, 0], values, bounds)
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
    _by_epoch(each, unit)
  figure.suptitle(title)
  return figure


def _distribution(
  axes: Axes, values: Mapping[str, np.ndarray], bounds: Bounds
) -> None:
  """A heat map: the share of all elements in each bin of α, by epoch."""
  counts = values[HISTOGRAM].sum(axis=1)
  share = 100 * counts / counts.sum(axis=1, keepdims=True)
  image = axes.imshow(
    share.T,
    origin='lower',
    aspect='auto',
    cmap=style.MAP,
    norm='log',
    extent=(0.5, len(counts) + 0.5, *bounds),
    interpolation='nearest',
  )
  axes.set_facecolor('white')  # Empty bins.
  axes.set_ylabel('α (ends: beyond the bounds too)')
  axes.set_title('distribution of α, all layers')
  axes.figure.colorbar(image, ax=axes, label='elements in the bin (%)')


def _by_layer(
  axes: Axes, values: np.ndarray, leaves: list[str], label: str, *, log: bool
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


def _clipped(axes: Axes, values: Mapping[str, np.ndarray]) -> None:
  """The share of all elements near each bound, or beyond it."""
  weights = values[HISTOGRAM].sum(axis=2)
  weights = weights / weights.sum(axis=1, keepdims=True)
  epochs = 1 + np.arange(len(weights))
  for i, (end, label) in enumerate((('min', 'below'), ('max', 'above'))):
    near = values[f'alpha_fraction_near_{end}']
    axes.plot(
      epochs,
      100 * (weights * near).sum(axis=1),
      **style.of(i),
      marker='.',
      label=f'near or {label} {end}_alpha',
    )
  axes.set_ylabel('elements (%)')
  axes.set_ylim(bottom=0)
  axes.set_title('α at its bounds (within 5 % of the range)')
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
