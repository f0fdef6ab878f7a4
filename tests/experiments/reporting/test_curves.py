"""The pictures are pictures, whatever the metrics."""

from matplotlib.axes import Axes
import numpy as np
from PIL import Image
import pytest

from experiments.reporting import curves
from experiments.training import records

NAN = float('nan')


def _history(losses, accuracies):
  """Of arrays [epochs, replicas]."""
  history = records.History(len(losses[0]) if len(losses) else 2)
  for loss, accuracy in zip(losses, accuracies, strict=True):
    history.append(
      train_loss=loss,
      train_accuracy=0.5,
      test_loss=1.0,
      test_accuracy=accuracy,
      train_seconds=1.0,
      test_seconds=1.0,
    )
  return history


ONE_SEED = _history([[1.0], [0.5]], [[0.5], [0.75]])
TWO_SEEDS = _history([[1.0, 2.0], [0.5, 0.25]], [[0.5, 0.6], [0.75, 0.8]])
DIVERGED = _history([[1.0, 2.0], [0.5, NAN]], [[0.5, 0.6], [0.75, 0.1]])
ALL_DIVERGED = _history([[1.0, NAN]] * 2, [[0.5, 0.1]] * 2)
ALL_DIVERGED.append(**dict.fromkeys(records.METRICS, NAN))


@pytest.mark.parametrize(
  'histories',
  [
    {'sgd': ONE_SEED},
    {'sgd': TWO_SEEDS, 'adam': DIVERGED},
    {'sgd': ALL_DIVERGED},
    {'sgd': ALL_DIVERGED, 'adam': TWO_SEEDS},
    {'sgd': _history([[1.0, 1.0]], [[0.5, 0.5]])},
    {'sgd': _history([[0.0, 0.0]] * 2, [[1.0, 1.0]] * 2)},
    {f'arm{i}': TWO_SEEDS for i in range(30)},
  ],
)
def test_curves_are_a_whole_picture(histories, tmp_path):
  path = tmp_path / 'curves.png'
  curves.draw(histories, path, 'digits, $x_')
  with Image.open(path) as picture:
    picture.verify()
  with Image.open(path) as picture:
    assert picture.format == 'PNG'
    assert picture.size == (1200, 504)
    assert np.asarray(picture.convert('L')).std() > 5  # It is not blank.
  assert [p.name for p in tmp_path.iterdir()] == ['curves.png']


def test_curves_are_means_over_the_seeds_that_stayed_finite(
  tmp_path, monkeypatch
):
  drawn = []
  plot = Axes.plot

  def spy(axes, x, y, *args, **kwargs):
    drawn.append((kwargs['label'], list(x), list(y)))
    return plot(axes, x, y, *args, **kwargs)

  monkeypatch.setattr(Axes, 'plot', spy)
  histories = {'sgd': TWO_SEEDS, 'adam': DIVERGED}
  curves.draw(histories, tmp_path / 'curves.png', '')
  assert drawn == [
    ('sgd', [1, 2], pytest.approx([55.0, 77.5])),
    ('adam', [1, 2], pytest.approx([50.0, 75.0])),
    ('sgd', [1, 2], pytest.approx([1.5, 0.375])),
    ('adam', [1, 2], pytest.approx([1.0, 0.5])),
  ]
