"""The picture of a run: accuracy and loss over epochs."""

from collections.abc import Mapping
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.reporting import pictures
from experiments.training.records import History


def draw(histories: Mapping[str, History], path: Path, title: str) -> None:
  """Draws accuracy and loss over epochs, mean and spread of each arm.

  Args:
    histories: by arm.
    path: the PNG to write; it appears whole.
    title: what stands above.
  """
  figure = Figure(figsize=(10, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  accuracy(left, histories)
  for index, (arm, history) in enumerate(histories.items()):
    band(right, history['train_loss'][~history.diverged()], arm, index)
  right.set_ylabel('training loss (nats)')
  if any(np.any(h['train_loss'] > 0) for h in histories.values()):
    right.set_yscale('log')
  _by_epoch(right)
  figure.suptitle(title)
  pictures.save(figure, path, dpi=120)


def accuracy(axes: Axes, histories: Mapping[str, History]) -> None:
  """Draws the test accuracy of every arm, with a legend."""
  for index, (arm, history) in enumerate(histories.items()):
    # An arm without a finite seed keeps its place in the legend.
    finite = ~history.diverged()
    band(axes, 100 * history['test_accuracy'][finite], arm, index)
  axes.set_ylabel('test accuracy (%)')
  _by_epoch(axes)
  legend = axes.legend(
    title='mean ± sd over seeds',
    loc='lower right',
    ncols=math.ceil(len(histories) / 10),
  )
  legend.set_in_layout(False)  # However many arms, the axes keep their size.


def _by_epoch(axes: Axes) -> None:
  axes.set_xlabel('epoch')
  axes.grid(alpha=0.3)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def band(
  axes: Axes,
  values: np.ndarray,
  label: str,
  index: int,
  *,
  places: np.ndarray | None = None,
  marker: str = '.',
) -> None:
  """Draws the mean over trials, and their sd around it, in an arm's style.

  Args:
    axes: where.
    values: [trials, n]; without any trial, nothing but the label is left.
    label: of the arm.
    index: of the arm, which decides its style.
    places: [n], where the values stand; by default at 1, 2, …, n.
    marker: of a value.
  """
  style = pictures.style(index)
  if places is None:
    places = 1 + np.arange(values.shape[1])
  mean = values.mean(0) if len(values) else np.full(len(places), np.nan)
  axes.plot(places, mean, label=label, marker=marker, **style)
  if len(values) > 1:
    sd = values.std(0, ddof=1)
    axes.fill_between(
      *(places, mean - sd, mean + sd),
      color=style['color'],
      alpha=0.15,
      linewidth=0,
    )
