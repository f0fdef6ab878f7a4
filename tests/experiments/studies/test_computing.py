"""A cell's trainings are those of `experiments.train`, to the last bit."""

import dataclasses

import numpy as np
import pytest

from experiments import data
from experiments.configs import default
from experiments.studies import computing
from experiments.studies.cells import Cell
from experiments.studies.declarations import Task
from experiments.training import run as runs

DATASET = 'synthetic:4x4x1:3:40:30'


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
@pytest.mark.parametrize('arm', ['sgd', 'schedule_free'])
@pytest.mark.parametrize('tests', [False, True])
def test_cells_train_as_runs_do(tmp_path, arm, tests):
  rates = (0.05, 0.1)
  config = default.get_config()
  config.update(
    dataset=DATASET,
    model='mlp',
    arms=arm,
    epochs=2,
    batch_size=12,
    fraction=0.5,
    label_noise=0.2,
    seeds=2,
    trials=[{'learning_rate': rate} for rate in rates],
    split='test' if tests else 'validation',
  )
  run = runs.train(
    default.Config.resolve(config), tmp_path / 'run', runs.Observer()
  )
  task = Task(
    DATASET,
    'mlp',
    fraction=0.5,
    label_noise=0.2,
    epochs=2,
    batch_size=12,
    held_out=False,
  )
  trials = tuple({'learning_rate': rate} for rate in rates)
  cell = Cell(task, arm, trials, (0, 1), tests)
  outcome = computing.compute(cell, data.load(DATASET))
  history = run.histories[arm]
  expected = history['test_accuracy']
  if tests:
    assert outcome.test_accuracy == expected[:, -1].tolist()
    assert 'validation_accuracy' not in outcome.curves
  else:
    assert outcome.test_accuracy is None
    assert outcome.curves['validation_accuracy'] == expected.tolist()
  assert outcome.curves['train_loss'] == history['train_loss'].tolist()
  assert outcome.steps_per_epoch == run.context.steps_per_epoch
  assert outcome.alpha is None


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
def test_a_cell_that_tests_says_what_alpha_did(tmp_path):
  config = default.get_config()
  config.update(
    dataset=DATASET,
    model='mlp',
    arms='gradient_only',
    epochs=2,
    batch_size=12,
    seeds=2,
  )
  run = runs.train(
    default.Config.resolve(config), tmp_path / 'run', runs.Observer()
  )
  task = Task(DATASET, 'mlp', epochs=2, batch_size=12, held_out=False)
  cell = Cell(task, 'gradient_only', ({'learning_rate': 0.1},), (0, 1), True)
  alpha = computing.compute(cell, data.load(DATASET)).alpha
  diagnostics = run.histories['gradient_only'].diagnostics
  assert alpha is not None
  assert alpha['leaves'] == diagnostics.leaves
  assert alpha['elements'] == [3, 3 * 256, 256, 16 * 256, 256, 256 * 256]
  found = np.array(alpha['alpha_mean'])
  expected = diagnostics.values['alpha_mean'].mean(axis=0)
  np.testing.assert_array_equal(found, expected)


def test_a_reported_run_holds_out_what_its_curve_is_measured_on():
  dataset = data.load(DATASET)
  trials = ({'learning_rate': 0.1},)
  for held_out, size in ((True, 34), (False, 40)):
    task = Task(DATASET, 'mlp', held_out=held_out)
    part = computing.training_part(
      Cell(task, 'sgd', trials, (0,), tests=True), dataset
    )
    assert len(part.train_images) == size
    # Of every training image a part is watched, never the test set.
    shown = {x.tobytes() for x in dataset.train_images}
    assert {x.tobytes() for x in part.test_images} <= shown


class _Unreadable(data.Dataset):
  """A data set whose test part must not be looked at."""

  @property
  def test_images(self):
    raise AssertionError('a test image is read')

  test_labels = test_images


def test_tuning_reads_no_test_image():
  dataset = object.__new__(_Unreadable)
  for name in ('spec', 'train_images', 'train_labels'):
    object.__setattr__(dataset, name, getattr(data.load(DATASET), name))
  task = Task(DATASET, 'mlp', epochs=1, batch_size=12, quick=True)
  trials = ({'learning_rate': 0.1}, {'learning_rate': 1e35})
  cell = Cell(task, 'sgd', trials, (0,), tests=False)
  outcome = computing.compute(cell, dataset)
  assert outcome.test_accuracy is None
  # The other one is worse than any.
  assert outcome.diverged == [False, True]
  assert outcome.scores(1)[1, 0] == -np.inf < outcome.scores(1)[0, 0]
  with pytest.raises(AssertionError, match='a test image is read'):
    computing.compute(dataclasses.replace(cell, tests=True), dataset)
