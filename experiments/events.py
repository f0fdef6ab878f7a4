"""TensorBoard events of an arm, a folder for each seed."""

from collections.abc import Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

from experiments.records import History
from experiments.records import METRICS


class Events:
  """Writes the metrics of every epoch as scalars, over epochs."""

  def __init__(
    self, directory: Path, arm: str, seeds: Sequence[int], done: int
  ) -> None:
    # What a run killed after its last checkpoint wrote is purged.
    self._writers = [
      SummaryWriter(str(directory / arm / f'seed{seed}'), purge_step=done + 1)
      for seed in seeds
    ]

  def add(self, history: History) -> None:
    """Writes the last epoch of each seed."""
    for replica, writer in enumerate(self._writers):
      for name in METRICS:
        value = history[name][replica, -1]
        writer.add_scalar(name.replace('_', '/', 1), value, history.epochs)
      writer.flush()

  def close(self) -> None:
    """Closes the files."""
    for writer in self._writers:
      writer.close()
