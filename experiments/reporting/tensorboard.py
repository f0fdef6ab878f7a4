"""TensorBoard events of an arm, a folder for each trial."""

from collections.abc import Iterable, Iterator, Sequence
import io
from pathlib import Path
import socket
import time
from typing import Any, BinaryIO

import numpy as np
from tensorboardX import RecordWriter
from tensorboardX import summary
from tensorboardX.proto import event_pb2

from experiments import files
from experiments.training.records import Diagnostics
from experiments.training.records import HISTOGRAM
from experiments.training.records import History

_PREFIX = 'events.out.tfevents.'


class Events:
  """Writes what every epoch measured, over epochs.

  Metrics are scalars; of diagnostics there is a scalar for each statistic and
  parameter tensor, and α's histogram of each tensor.

  The events are made of the metrics of a run, so that those of a resumed one
  are those of an uninterrupted one, wherever it was killed: what is there is
  replaced. tensorboardX's own writer would leave what it wrote last to a
  thread, which dies on a full disk without a word.
  """

  def __init__(
    self,
    directory: Path,
    names: Sequence[str],
    history: History,
    alpha_bounds: tuple[float, float] | None = None,
  ) -> None:
    """Writes the events of all epochs so far, in a folder for each trial."""
    self._alpha_bounds = alpha_bounds
    base = f'{_PREFIX}{int(time.time())}.{socket.gethostname()}'
    self._paths = [directory / name / base for name in names]
    for trial, path in enumerate(self._paths):
      with files.replacing(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('wb') as file:
          _write(file, self._so_far(history, trial))
        for old in path.parent.iterdir():
          ours = old.name.removeprefix('.').startswith(_PREFIX)
          if ours and old not in (path, temporary):
            old.unlink()

  def _so_far(self, history: History, trial: int) -> Iterator[Any]:
    now = time.time()
    yield event_pb2.Event(wall_time=now, file_version='brain.Event:2')
    # A viewer that is looking forgets the events that are replaced.
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    yield event_pb2.Event(wall_time=now, step=1, session_log=start)
    seconds = np.sum(
      [history[x] for x in history.names if x.endswith('_seconds')], axis=0
    )
    for epoch in range(1, history.epochs + 1):
      # As if the epochs had come one right after the other, up to now.
      wall_time = now - float(np.sum(seconds[trial, epoch:]))
      yield self._event(history, trial, epoch, wall_time)

  def add(self, history: History) -> None:
    """Writes the last epoch of each trial."""
    now = time.time()
    for trial, path in enumerate(self._paths):
      event = self._event(history, trial, history.epochs, now)
      # Opened each time: a grid has more trials than a process may open files.
      # Not made anew: one that was removed is missed.
      with files.writing(path), path.open('r+b') as file:
        file.seek(0, io.SEEK_END)
        _write(file, [event])

  def _event(
    self, history: History, trial: int, epoch: int, wall_time: float
  ) -> Any:
    """All that an epoch measured of a trial, as one event."""
    values = [
      summary.scalar(name.replace('_', '/', 1), history[name][trial, epoch - 1])
      for name in history.names
    ]
    # An arm may have none.
    if history.diagnostics.epochs >= epoch:
      values += self._diagnostics(history.diagnostics, trial, epoch)
    event = event_pb2.Event(wall_time=wall_time, step=epoch)
    for each in values:
      event.summary.value.extend(each.value)
    return event

  def _diagnostics(
    self, diagnostics: Diagnostics, trial: int, epoch: int
  ) -> Iterator[Any]:
    for name, values in diagnostics.values.items():
      for leaf, value in zip(
        diagnostics.leaves, values[trial, epoch - 1], strict=True
      ):
        tag = f'{name}/{leaf}'
        if name == HISTOGRAM:
          yield self._histogram(tag, value)
        else:
          yield summary.scalar(tag, value)

  def _histogram(self, tag: str, counts: np.ndarray) -> Any:
    assert self._alpha_bounds is not None
    edges = np.linspace(*self._alpha_bounds, len(counts) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    return summary.histogram_raw(
      tag,
      min=edges[0],
      max=edges[-1],
      num=counts.sum(),
      sum=centres @ counts,
      sum_squares=centres**2 @ counts,
      bucket_limits=edges[1:].tolist(),
      bucket_counts=counts.tolist(),
    )


class _Writer(RecordWriter):
  """Frames records as TensorBoard reads them, in a file that is open."""

  def __init__(self, file: BinaryIO) -> None:
    self._writer = file


def _write(file: BinaryIO, events: Iterable[Any]) -> None:
  writer = _Writer(file)
  for event in events:
    writer.write(event.SerializeToString())
