"""TensorBoard's files hold every metric of every seed and epoch."""

import contextlib
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from experiments.reporting import tensorboard
from experiments.training import records

NAMES = [name.replace('_', '/', 1) for name in records.METRICS]


def read(folder):
  """The events in a folder, as TensorBoard reads them.

  Args:
    folder: of event files.

  Returns:
    The scalars and histograms, by name and step. Where a file starts again at
    a step, what older files hold of that step and later ones is left out.
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
        scalar = value.WhichOneof('value') == 'simple_value'
        scalars[value.tag, event.step] = (
          value.simple_value if scalar else value.histo
        )
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
  with contextlib.closing(
    tensorboard.Events(folder / 'sgd', ['seed3', 'seed4'], done)
  ) as board:
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


def test_what_alpha_did_is_there_by_layer(tmp_path):
  history = _history(1)
  counts = np.arange(2 * 1 * 3 * 64).reshape(2, 1, 3, 64)
  history.diagnostics.leaves = ['a/kernel', 'a/bias', 'b/kernel']
  history.diagnostics.values = {
    'alpha_mean': np.array([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]),
    'alpha_histogram': counts,
  }
  board = tensorboard.Events(
    tmp_path / 'full', ['seed3', 'seed4'], 0, (0.2, 2.0)
  )
  with contextlib.closing(board):
    board.add(history)
  found = read(tmp_path / 'full' / 'seed4')
  assert found['alpha_mean/a/bias', 1] == 5.0
  histogram = found['alpha_histogram/b/kernel', 1]
  np.testing.assert_array_equal(histogram.bucket, counts[1, 0, 2])
  edges = np.linspace(0.2, 2.0, 65)
  np.testing.assert_allclose(histogram.bucket_limit, edges[1:])
  assert (histogram.min, histogram.max) == (0.2, 2.0)
  assert histogram.num == counts[1, 0, 2].sum()
  middle = (edges[1:] + edges[:-1]) / 2
  np.testing.assert_allclose(histogram.sum, middle @ counts[1, 0, 2])
  assert len(found) == len(NAMES) + 6
