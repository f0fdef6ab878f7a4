"""What is recorded is restored to the last bit, and tells what diverged."""

import numpy as np
import pytest

from experiments.training import records

NAN, INF = float('nan'), float('inf')


def history(epochs=2, **changes):
  """Metrics that differ by seed and epoch; `changes` are of the last one."""
  found = records.History(3)
  for epoch in range(epochs):
    metrics = {
      'train_loss': [1 / (epoch + 1), 0.1, 0.2],
      'train_accuracy': [0.25, 0.5, 1 / 3],
      'test_loss': [2.0, 3.0, 4.0 + epoch],
      'test_accuracy': [0.5 + 0.1 * epoch, 0.7, 0.9],
      'train_seconds': 0.5 + epoch,
      'test_seconds': 0.25,
    }
    found.append(**metrics | (changes if epoch == epochs - 1 else {}))
  return found


def test_history_grows_by_an_epoch():
  assert records.History(3).epochs == 0
  assert not records.History(3).diverged().any()
  found = history(2)
  assert found.epochs == 2
  np.testing.assert_array_equal(
    found['test_accuracy'], [[0.5, 0.6], [0.7, 0.7], [0.9, 0.9]]
  )
  np.testing.assert_array_equal(found['train_seconds'], [[0.5, 1.5]] * 3)


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.parametrize('name', ['train_loss', 'test_loss'])
def test_loss_that_is_not_finite_is_divergence_for_good(name, value):
  found = history(2, **{name: [1.0, value, 1.0]})
  np.testing.assert_array_equal(found.diverged(), [False, True, False])
  found.append(**dict.fromkeys(records.METRICS, 1.0))
  np.testing.assert_array_equal(found.diverged(), [False, True, False])


def test_summary_of_diagnostics_counts_elements_exactly():
  """Means of shares of a histogram are not whole."""
  values = np.full((3, 1, 1, 10), 25.6) * (1 - 1e-9)
  found = records.Diagnostics({records.HISTOGRAM: values}, ['kernel'])
  assert found.summary()['elements'] == [256]
