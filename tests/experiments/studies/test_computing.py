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


SHAPE = {
  'dataset': DATASET, 'model': 'mlp', 'fraction': 0.5, 'label_noise': 0.2,
  'epochs': 2, 'batch_size': 12,
}  # fmt: skip
STREAM = {
  'dataset': 'synthetic:4x4x1:4:40:20', 'model': 'mlp_small',
  'stream': 'split', 'tasks': 2, 'updates': 12, 'batch_size': 8,
}  # fmt: skip


def computed_twice(folder, shape, arm, tests):
  """The outcome of a cell of two trials, and the history of the same run."""
  rates = [{'learning_rate': rate} for rate in (0.05, 0.1)]
  config = default.get_config()
  split = 'test' if tests else 'validation'
  config.update(**shape, arms=arm, seeds=2, trials=rates, split=split)
  run = runs.train(default.Config.resolve(config), folder, runs.Observer())
  cell = Cell(Task(**shape, held_out=False), arm, tuple(rates), (0, 1), tests)
  outcome = computing.compute(cell, data.load(shape['dataset']))
  assert outcome.steps_per_epoch == run.context.steps_per_epoch
  return outcome, run.histories[arm]


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
@pytest.mark.parametrize(
  ('arm', 'tests'),
  [('sgd', False), ('schedule_free', True), ('gradient_only', True)],
)
def test_cells_train_as_runs_do(tmp_path, arm, tests):
  outcome, history = computed_twice(tmp_path / 'run', SHAPE, arm, tests)
  expected = history['test_accuracy']
  if tests:
    assert outcome.test_accuracy == expected[:, -1].tolist()
    assert 'validation_accuracy' not in outcome.curves
  else:
    assert outcome.test_accuracy is None
    assert outcome.curves['validation_accuracy'] == expected.tolist()
  assert outcome.curves['train_loss'] == history['train_loss'].tolist()
  if arm != 'gradient_only':
    assert outcome.alpha is None
    return
  alpha, diagnostics = outcome.alpha, history.diagnostics
  assert alpha['leaves'] == diagnostics.leaves
  assert alpha['elements'] == [3, 3 * 256, 256, 16 * 256, 256, 256 * 256]
  np.testing.assert_array_equal(
    alpha['alpha_mean'], diagnostics.values['alpha_mean'].mean(axis=0)
  )


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
def test_cells_learn_streams_as_runs_do(tmp_path):
  outcome, history = computed_twice(tmp_path / 'run', STREAM, 'sgd', True)
  for name in ('online_loss', 'plasticity', 'weight_norm'):
    assert outcome.measures[name] == history[name].tolist()
  assert outcome.evaluations == history.evaluations.tolist()


def test_reported_run_holds_out_what_its_curve_is_measured_on():
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


@pytest.mark.slow
@pytest.mark.parametrize('stream', [None, 'permuted_labels'])
def test_tuning_reads_no_test_image(stream):
  dataset = object.__new__(_Unreadable)
  for name in ('spec', 'train_images', 'train_labels'):
    object.__setattr__(dataset, name, getattr(data.load(DATASET), name))
  length = {'stream': stream, 'tasks': 1} if stream else {'epochs': 1}
  task = Task(DATASET, 'mlp', **length, batch_size=12, quick=True)
  trials = ({'learning_rate': 0.1}, {'learning_rate': 1e35})
  cell = Cell(task, 'sgd', trials, (0,), tests=False)
  outcome = computing.compute(cell, dataset)
  assert outcome.test_accuracy is None
  # The other one is worse than any.
  assert outcome.diverged == [False, True]
  assert outcome.scores(1)[1, 0] == -np.inf < outcome.scores(1)[0, 0]
  with pytest.raises(AssertionError, match='a test image is read'):
    computing.compute(dataclasses.replace(cell, tests=True), dataset)
