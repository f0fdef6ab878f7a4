"""What the tests of studies share."""

import jax
import pytest

from experiments.studies import declarations
from experiments.studies import tuner


@pytest.fixture
def one_device(monkeypatch):
  """The tests have more, over which trials would be split."""
  monkeypatch.setattr(jax, 'device_count', lambda: 1)


@pytest.fixture
def make_study():
  """Makes a study that is as small as can be, of a data set and some arms."""

  def make(dataset='synthetic:4x4x1:3:20:10', arms=('sgd', 'adamw')):
    task = declarations.Task(
      dataset, 'mlp', epochs=2, batch_size=12, quick=True
    )
    return declarations.Study(
      'small',
      arms,
      (declarations.Condition('here', task, tuned_on='tuning'),),
      declarations.Tuning(
        {'tuning': task},
        arms,
        tuner.Budget(rates=2, trials=5, rounds=1, finalists=2, seeds=2),
      ),
      seeds=2,
    )

  return make
