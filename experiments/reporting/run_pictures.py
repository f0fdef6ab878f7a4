"""The pictures of a run, of the same parts as those of studies."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments import errors
from experiments import optimizers
from experiments.reporting import quantities
from experiments.reporting.figures import tasks
from experiments.reporting.plots import grids
from experiments.reporting.plots import layers
from experiments.reporting.plots import lines
from experiments.reporting.plots import maps
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.training.records import History
from experiments.training.run import Run
from experiments.training.stream_engine import evaluated_after

Histories = Mapping[str, History]
_SHOWN = ', mean over seeds and 95 % t interval'


def draw(run: Run, say: Callable[[str], None]) -> list[str]:
  """Draws all pictures into the run directory; each appears whole.

  Args:
    run: the run.
    say: called with a sentence for each that cannot be drawn.

  Returns:
    The names of the files.

  Raises:
    StorageError: one cannot be written.
  """
  drawn = []
  for each in _pictures(run):
    try:
      with each.style:
        saving.save(each.make(), run.workdir / each.name, each.dpi)
      drawn.append(each.name)
    except errors.UserError:
      raise
    # Whatever Matplotlib meets, a run has its results.
    except Exception as e:
      say(f'{each.name} cannot be drawn: {type(e).__name__}: {e}')
  return drawn


class _Picture(NamedTuple):
  """A picture: its file, what draws it, and in which style and size."""

  name: str
  make: Callable[[], Figure]
  style: contextlib.AbstractContextManager[Any]
  dpi: int = 110


def _pictures(run: Run) -> Iterator[_Picture]:
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
      yield _Picture(f'{name}.png', drawn, style.report(name))
  else:
    drawn = functools.partial(curves, by_label, run.title)
    yield _Picture('curves.png', drawn, style.plain(), 120)
    for arm, bounds in [*alphas.items()][:1]:
      drawn = functools.partial(overview, run.histories, arm, bounds, run.title)
      yield _Picture('overview.png', drawn, style.plain(), 120)
  for arm, bounds in alphas.items():
    drawn = functools.partial(
      layers.draw,
      *(run.histories[arm].diagnostics, bounds),
      *(f'{arm}: {run.title}', run.config.unit),
    )
    yield _Picture(f'diagnostics/{arm}.png', drawn, style.plain())


def curves(histories: Histories, title: str) -> Figure:
  """Draws accuracy and loss over epochs, mean ± sd of each arm."""
  figure = Figure(figsize=(10, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  _accuracy(left, histories)
  for index, (arm, history) in enumerate(histories.items()):
    _band(right, history['train_loss'][~history.diverged()], arm, index)
  right.set_ylabel('training loss (nats)')
  if any(np.any(h['train_loss'] > 0) for h in histories.values()):
    right.set_yscale('log')
  _by_epoch(right)
  figure.suptitle(title)
  return figure


def overview(
  histories: Histories, arm: str, bounds: tuple[float, float], title: str
) -> Figure:
  """Draws the test accuracy of all arms, beside the distribution of α of one.

  Args:
    histories: by arm.
    arm: the one whose α is drawn.
    bounds: its α_min and α_max.
    title: what stands above.

  Returns:
    The picture.
  """
  figure = Figure(figsize=(11, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  _accuracy(left, histories)
  left.set_title('test accuracy')
  layers.distribution(right, histories[arm].diagnostics, bounds)
  right.set_title(f'distribution of α in {arm}, all layers')
  right.set_xlabel('epoch')
  right.xaxis.set_major_locator(MaxNLocator(integer=True))
  figure.suptitle(title)
  return figure


def _accuracy(axes: Axes, histories: Histories) -> None:
  """Draws the test accuracy of every arm, with a legend."""
  for index, (arm, history) in enumerate(histories.items()):
    # An arm without a finite seed keeps its place in the legend.
    finite = ~history.diverged()
    _band(axes, 100 * history['test_accuracy'][finite], arm, index)
  axes.set_ylabel('test accuracy (%)')
  _by_epoch(axes)
  legend = axes.legend(
    title='mean ± sd over seeds',
    loc='lower right',
    ncols=math.ceil(len(histories) / 10),
  )
  legend.set_in_layout(False)  # However many arms, the axes keep their size.


def _band(axes: Axes, values: np.ndarray, label: str, index: int) -> None:
  """Draws the mean over seeds, [seeds, epochs], and their sd around it."""
  line, look = lines.with_sd(values), style.of(index)
  axes.plot(line.x, line.y, label=label, marker='.', **look)
  lines.draw_band(axes, line, look['color'], 0.15)


def _by_epoch(axes: Axes) -> None:
  axes.set_xlabel('epoch')
  axes.grid(alpha=0.3)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def stream(histories: Histories, title: str) -> Figure:
  """Draws what every arm measured of a stream, task by task."""
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
  """Draws the accuracy of every arm on each task after each task."""
  finite = _finite(histories)
  matrices = {
    arm: finite[arm].evaluations[:, :, -1].mean(0)
    if arm in finite
    else np.full_like(history.evaluations[0, :, -1], np.nan)
    for arm, history in histories.items()
  }
  return maps.draw(matrices, f'After each task: {title}')


def first_task(histories: Histories, updates: int, title: str) -> Figure:
  """Draws the accuracy on the first task, at every evaluation.

  Args:
    histories: by arm.
    updates: of a task.
    title: what stands above.

  Returns:
    The picture.
  """
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
