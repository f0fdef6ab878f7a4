"""The picture of a run: accuracy and loss over epochs."""

from collections.abc import Mapping
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.reporting import pictures
from experiments.reporting.pictures import COLOURS
from experiments.reporting.pictures import STYLES
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
  for index, (arm, history) in enumerate(histories.items()):
    colour = COLOURS[index % len(COLOURS)]
    style = STYLES[index % len(STYLES)]
    finite = ~history.diverged()
    accuracy = 100 * history['test_accuracy'][finite]
    # An arm without a finite seed keeps its place in the legend.
    _band(left, accuracy, arm, colour, style)
    _band(right, history['train_loss'][finite], arm, colour, style)
  left.set_ylabel('test accuracy (%)')
  right.set_ylabel('training loss (nats)')
  if any(np.any(h['train_loss'] > 0) for h in histories.values()):
    right.set_yscale('log')
  for axes in (left, right):
    axes.set_xlabel('epoch')
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  legend = left.legend(
    title='mean ± sd over seeds',
    loc='lower right',
    ncols=math.ceil(len(histories) / 10),
  )
  legend.set_in_layout(False)  # However many arms, the axes keep their size.
  figure.suptitle(title)
  pictures.save(figure, path, dpi=120)


def _band(
  axes: Axes, values: np.ndarray, label: str, colour: str, style: str
) -> None:
  """The mean over trials, and their sd around it."""
  epochs = 1 + np.arange(values.shape[1])
  mean = values.mean(0) if len(values) else np.full(len(epochs), np.nan)
  axes.plot(epochs, mean, style, color=colour, label=label, marker='.')
  if len(values) > 1:
    sd = values.std(0, ddof=1)
    axes.fill_between(
      epochs, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0
    )
