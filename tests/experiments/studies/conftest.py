"""What the tests of studies share."""

import numpy as np
import pytest

from experiments import optimizers
from experiments.studies import declarations
from experiments.studies import frames
from experiments.studies import tuner
from experiments.studies import workers
from experiments.studies.cells import Outcome


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


@pytest.fixture
def computed(monkeypatch):
  """Cells get made-up outcomes instead of being trained; lists the cells.

  The accuracy is best at a learning rate of .05 and grows with the epochs; an
  arm called `far` diverges, one called `fails` raises an error.
  """
  cells = []

  def compute(cell, data_dir):
    del data_dir
    cells.append(cell)
    if cell.arm == 'fails':
      raise RuntimeError('this arm is broken')
    rates = np.repeat(
      [x['learning_rate'] for x in cell.trials], len(cell.seeds)
    )
    noise = np.random.default_rng(cell.seeds).uniform(0, 0.01, cell.size)
    last = 0.9 - 0.1 * np.abs(np.log10(np.array(rates) / 0.05)) + noise
    curve = np.linspace(0.5, 1, cell.task.length) * last[:, None]
    has_alpha = optimizers.ARMS[cell.arm].alpha_bounds and cell.tests
    return Outcome(
      curves={
        'train_loss': (1 - curve).tolist(),
        'validation_accuracy': curve.tolist(),
      },
      test_accuracy=(last - 0.01).tolist() if cell.tests else None,
      diverged=[cell.arm == 'far'] * cell.size,
      steps_per_epoch=2,
      seconds=1.0,
      alpha=_alpha(cell.task.length) if has_alpha else None,
    )

  monkeypatch.setattr(workers, 'compute', compute)
  return cells


def _alpha(epochs):
  names = frames.TABLES['alpha'][6:]
  values = [[epoch + 0.1, None] for epoch in range(epochs)]
  return {
    'leaves': ['kernel', 'bias'],
    'elements': [12, 3],
    **dict.fromkeys(names, values),
  }
