"""TensorBoard's files hold every metric of every seed and epoch."""

import shutil
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from experiments import errors
from experiments.reporting import tensorboard
from experiments.training import records
from tests.experiments.training.test_records import history

NAMES = [name.replace('_', '/', 1) for name in records.METRICS]


def read(folder):
  """The scalars and histograms of the only event file, by name and step."""
  (path,) = folder.iterdir()
  data, found = path.read_bytes(), {}
  while data:
    # The length, its checksum, the event, its checksum.
    (length,) = struct.unpack_from('<Q', data)
    event = event_pb2.Event.FromString(data[12 : 12 + length])
    data = data[16 + length :]
    for value in event.summary.value:
      assert (value.tag, event.step) not in found
      found[value.tag, event.step] = getattr(value, value.WhichOneof('value'))
  return found


def _write(folder, done, epochs):
  directory = folder / 'tensorboard' / 'sgd'
  board = tensorboard.Events(directory, ['seed3', 'seed4'], history(done))
  for epoch in range(done + 1, epochs + 1):
    board.add(history(epoch))
  return directory


def _expected(replica, epochs):
  found = history(epochs)
  return {
    (tag, epoch): pytest.approx(found[name][replica, epoch - 1])
    for tag, name in zip(NAMES, records.METRICS, strict=True)
    for epoch in range(1, epochs + 1)
  }


@pytest.mark.parametrize('done', [0, 1, 2, 3])
def test_events_are_those_of_the_metrics_whatever_was_there(tmp_path, done):
  """As if killed before, between and after what was written of epoch 1."""
  directory = _write(tmp_path, 0, 1)
  (directory / 'seed3' / 'notes.txt').write_text('precious')
  (old,) = (directory / 'seed4').iterdir()
  old.rename(old.with_name('events.out.tfevents.1.elsewhere'))
  _write(tmp_path, done, 3)
  (directory / 'seed3' / 'notes.txt').unlink()
  for replica, seed in enumerate((3, 4)):
    assert read(directory / f'seed{seed}') == _expected(replica, 3)


def test_a_removed_event_file_is_one_sentence(tmp_path):
  directory = tmp_path / 'run' / 'tensorboard' / 'sgd'
  (tmp_path / 'run').mkdir()
  board = tensorboard.Events(directory, ['seed3', 'seed4'], history(1))
  shutil.rmtree(tmp_path / 'run')
  with pytest.raises(errors.StorageError, match='tensorboard/sgd/seed3.*No'):
    board.add(history(2))


def test_what_alpha_did_is_there_by_layer(tmp_path):
  recorded = history(1)
  counts = np.arange(2 * 1 * 3 * 64).reshape(2, 1, 3, 64)
  recorded.diagnostics.leaves = ['a/kernel', 'a/bias', 'b/kernel']
  recorded.diagnostics.values = {
    'alpha_mean': np.array([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]),
    'alpha_histogram': counts,
  }
  tensorboard.Events(
    tmp_path / 'board' / 'full', ['seed3', 'seed4'], recorded, (0.2, 2.0)
  )
  found = read(tmp_path / 'board' / 'full' / 'seed4')
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
