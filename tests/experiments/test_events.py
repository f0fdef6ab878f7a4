"""TensorBoard's files hold every metric of every seed and epoch."""

import contextlib
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from experiments import events
from experiments import records

NAMES = [name.replace('_', '/', 1) for name in records.METRICS]


def read(folder):
  """The events in a folder, as TensorBoard reads them.

  Args:
    folder: of event files.

  Returns:
    The scalars, by name and step. Where a file starts again at a step, what
    older files hold of that step and later ones is left out.
  """
  scalars = {}
  for path in sorted(folder.iterdir()):
    data = path.read_bytes()
    while data:
      # The length, its checksum, the event, its checksum.
      (length,) = struct.unpack_from('<Q', data)
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      if event.session_log.status == event_pb2.SessionLog.START:
        scalars = {k: v for k, v in scalars.items() if k[1] < event.step}
      for value in event.summary.value:
        scalars[value.tag, event.step] = value.simple_value
  return scalars


def _history(epochs):
  history = records.History(2)
  for epoch in range(1, epochs + 1):
    history.append(
      **{
        name: [epoch + 0.1 * i, epoch + 0.5]
        for i, name in enumerate(records.METRICS)
      }
    )
  return history


def _write(folder, done, epochs):
  with contextlib.closing(events.Events(folder, 'sgd', [3, 4], done)) as board:
    for epoch in range(done + 1, epochs + 1):
      board.add(_history(epoch))


def _expected(replica, epochs):
  history = _history(epochs)
  return {
    (tag, epoch): pytest.approx(history[name][replica, epoch - 1])
    for tag, name in zip(NAMES, records.METRICS, strict=True)
    for epoch in range(1, epochs + 1)
  }


def test_every_metric_of_every_seed_and_epoch_is_there(tmp_path):
  _write(tmp_path, 0, 3)
  assert [p.name for p in tmp_path.iterdir()] == ['sgd']
  for replica, seed in enumerate((3, 4)):
    found = read(tmp_path / 'sgd' / f'seed{seed}')
    assert found == _expected(replica, 3)


def test_what_was_not_in_a_checkpoint_is_purged(tmp_path, monkeypatch):
  # The names of the files are by the second, and then by a counter.
  clock = np.arange(1_000_000_000, 1_000_001_000).tolist()
  monkeypatch.setattr('time.time', lambda: clock.pop(0))
  _write(tmp_path, 0, 3)
  _write(tmp_path, 1, 2)  # As if killed after the checkpoint of epoch 1.
  for replica, seed in enumerate((3, 4)):
    found = read(tmp_path / 'sgd' / f'seed{seed}')
    assert found == _expected(replica, 2)
