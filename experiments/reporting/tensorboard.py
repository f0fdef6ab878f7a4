"""TensorBoard events of an arm, a folder for each trial."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

from experiments.training.diagnostics import Diagnostics
from experiments.training.diagnostics import HISTOGRAM
from experiments.training.records import History
from experiments.training.records import METRICS


class Events:
  """Writes what every epoch measured, over epochs.

  Metrics are scalars; of diagnostics there is a scalar for each statistic and
  parameter tensor, and α's histogram of each tensor.
  """

  def __init__(
    self,
    directory: Path,
    names: Sequence[str],
    done: int,
    alpha_bounds: tuple[float, float] | None = None,
  ) -> None:
    """Opens the files.

    Args:
      directory: of the arm.
      names: a folder for each trial.
      done: epochs that were recorded before.
      alpha_bounds: α_min and α_max, for the histograms of α.
    """
    self._alpha_bounds = alpha_bounds
    # What a run killed after its last checkpoint wrote is purged.
    self._writers = [
      SummaryWriter(str(directory / name), purge_step=done + 1)
      for name in names
    ]

  def add(self, history: History) -> None:
    """Writes the last epoch of each trial."""
    for trial, writer in enumerate(self._writers):
      for name in METRICS:
        value = history[name][trial, -1]
        writer.add_scalar(name.replace('_', '/', 1), value, history.epochs)
      # Those of this epoch: an arm may have none.
      if history.diagnostics.epochs == history.epochs:
        self._add_diagnostics(writer, trial, history.diagnostics)
      writer.flush()

  def _add_diagnostics(
    self, writer: SummaryWriter, trial: int, diagnostics: Diagnostics
  ) -> None:
    for name, values in diagnostics.values.items():
      for leaf, value in zip(
        diagnostics.leaves, values[trial, -1], strict=True
      ):
        tag = f'{name}/{leaf}'
        if name == HISTOGRAM:
          self._add_histogram(writer, tag, value, diagnostics.epochs)
        else:
          writer.add_scalar(tag, value, diagnostics.epochs)

  def _add_histogram(
    self, writer: SummaryWriter, tag: str, counts: np.ndarray, epoch: int
  ) -> None:
    assert self._alpha_bounds is not None
    edges = np.linspace(*self._alpha_bounds, len(counts) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    writer.add_histogram_raw(
      tag,
      min=edges[0],
      max=edges[-1],
      num=counts.sum(),
      sum=centres @ counts,
      sum_squares=centres**2 @ counts,
      bucket_limits=edges[1:].tolist(),
      bucket_counts=counts.tolist(),
      global_step=epoch,
    )

  def close(self) -> None:
    """Closes the files."""
    for writer in self._writers:
      writer.close()
