"""The engine: whole epochs, one program, statistics in place."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from experiments import data
from experiments.training import engine
from tests.experiments.training.diary import Arm
from tests.experiments.training.diary import NOISE
from tests.experiments.training.diary import NORMED
from tests.experiments.training.diary import of_trial
from tests.experiments.training.diary import PAIRED
from tests.experiments.training.diary import params_of
from tests.experiments.training.diary import stats_of

pytestmark = pytest.mark.usefixtures('one_device')


@pytest.mark.parametrize(
  'batch_size',
  [
    5,
    pytest.param(23, marks=pytest.mark.slow),
    pytest.param(10**12, marks=pytest.mark.slow),
  ],
)
def test_an_epoch_is_one_pass_over_every_example(batch_size):
  state, metrics = Arm(batch_size=batch_size).train()
  stats = stats_of(state)
  assert (stats['times_seen'][:, :23] == 1).all()
  assert (stats['times_seen'][:, 23:] == 0).all()
  size = min(batch_size, 23)
  steps = math.ceil(23 / size)
  assert state.step.tolist() == stats['step'].tolist() == [steps] * 3
  for last_seen in stats['last_seen'][:, :23]:
    sizes = [size] * (23 // size) + [23 % size] * (23 % size > 0)
    assert np.bincount(last_seen).tolist() == sizes
  # Every label was the one of its image.
  np.testing.assert_array_equal(metrics[0].accuracy, [1, 1, 1])


def test_every_epoch_has_an_order_of_its_own():
  orders = []
  for epochs in (1, 2):
    stats = stats_of(Arm().train(epochs)[0])
    assert (stats['times_seen'][:, :23] == epochs).all()
    order = stats['last_seen'][:, :23] - 5 * (epochs - 1)
    assert set(order.ravel().tolist()) == {0, 1, 2, 3, 4}
    orders += list(order)
  for i, one in enumerate(orders):
    for other in orders[:i]:
      assert (one != other).sum() > 5


def test_label_noise_is_in_training_only():
  state, metrics = PAIRED.train()
  indices, labels = PAIRED.trials.indices, PAIRED.trials.labels
  right = (np.asarray(labels) == np.asarray(indices) % 3).mean(1)
  assert 0 < right.min() <= right.max() < 1
  np.testing.assert_allclose(metrics[0].accuracy, right, rtol=1e-6)
  np.testing.assert_array_equal(PAIRED.evaluate(state).accuracy, [1, 1, 1])


def _loss(weight, numbers, labels):
  """The loss of `Diary`, in float64."""
  logits = 50 * np.eye(3)[numbers % 3] + 0.1 * np.tanh(np.float64(weight))
  losses = -special.log_softmax(logits, axis=-1)
  return losses[np.arange(len(numbers)), labels].mean()


def test_the_loss_is_the_mean_over_examples():
  """The last batch, of 7, counts for seven examples and no more."""
  arm = dataclasses.replace(PAIRED, learning_rate=0.0)
  state, metrics = arm.train()
  for i in range(3):
    indices, labels = of_trial(arm.trials[2:], i)
    expected = _loss(params_of(state)['weight'][i], indices, labels)
    np.testing.assert_allclose(metrics[0].loss[i], expected, rtol=1e-5)


@pytest.mark.parametrize('test', [1, 3, 7])
def test_evaluation_covers_the_test_set_in_batches_of_three(test):
  arm = Arm()
  numbers = np.arange(test)
  labels = numbers % 3
  labels[: test // 2] = (labels[: test // 2] + 1) % 3
  pixels = engine.Pixels(
    arm.pixels.train_images,
    jnp.asarray(numbers.astype(np.uint8)[:, None, None, None]),
    jnp.asarray(labels),
  )
  state = arm.start()
  found = arm.evaluate(state, pixels)
  expected = [_loss(w, numbers, labels) for w in params_of(state)['weight']]
  np.testing.assert_allclose(found.loss, expected, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(
    found.accuracy, [1 - test // 2 / test] * 3, rtol=1e-6
  )


def _test_metrics(params, mean, var):
  """Loss and accuracy of `Normed` on the test set, in float64."""
  x = NOISE.test_images.reshape(10, -1) / 255 / 0.5 - 1
  x = (x - mean) / np.sqrt(var + 1e-5)
  x = x * params['norm']['scale'] + params['norm']['bias']
  logits = x @ params['head']['kernel'] + params['head']['bias']
  losses = -special.log_softmax(logits, axis=-1)
  right = logits.argmax(-1) == NOISE.test_labels
  return losses[np.arange(10), NOISE.test_labels].mean(), right.mean()


def test_batch_statistics_are_those_of_the_parameters_evaluated_at():
  """Also where those are not the ones that were trained."""
  state = NORMED.train()[0]
  elsewhere = lambda opt_state, params: jax.tree.map(lambda x: x + 1, params)
  trainer = NORMED.programs.trainer
  at = jax.jit(dataclasses.replace(trainer, eval_params=elsewhere).evaluated_at)
  found = NORMED.evaluate(at(state, NORMED.trials, NORMED.pixels))
  trained = NORMED.evaluate(state)
  # The statistics are of the inputs here, which no parameter changes.
  inputs = NOISE.train_images.reshape(23, -1) / 255 / 0.5 - 1
  for i in range(3):
    stats = of_trial(stats_of(state)['norm'], i)
    mean, var = stats['mean'], stats['var']
    loss, accuracy = _test_metrics(of_trial(params_of(state), i), mean, var)
    np.testing.assert_allclose(trained.loss[i], loss, rtol=1e-4)
    np.testing.assert_allclose(trained.accuracy[i], accuracy, rtol=1e-6)
    # Three steps of a tenth each, towards the moments of batches of pixels.
    assert ((var > 0.729) & (var < 1)).all()
    for batch in range(64):
      x = inputs[(10 * batch + np.arange(10)) % 23]
      mean = 0.9 * mean + 0.1 * x.mean(0)
      var = 0.9 * var + 0.1 * x.var(0)
    params = jax.tree.map(lambda x: x + 1, of_trial(params_of(state), i))
    loss, _ = _test_metrics(params, mean, var)
    np.testing.assert_allclose(found.loss[i], loss, rtol=1e-4)
  assert (found.loss != trained.loss).all()
  # Nothing is done where the trained parameters are what is evaluated.
  assert trainer.evaluated_at(state, NORMED.trials, NORMED.pixels) is state


def _bytes(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.fixture(name='lowered', scope='module')
def _lowered():
  """Programs for more data than a program takes room, and their arguments."""
  images = data.load('synthetic:16x16x1:3:2048:2048')
  arm = dataclasses.replace(NORMED, dataset=images, seeds=(0,), batch_size=2048)
  state = jax.eval_shape(arm.programs.trainer.init, arm.trials)
  pixels = arm.pixels
  n, sums = jnp.int32(1), arm.programs.trainer.no_sums(arm.trials)
  given = {
    'update': (state, arm.trials, pixels, n),
    'close': (state, arm.trials, pixels),
    'evaluate': (sums, state, pixels, n, n),
  }
  used = {
    'update': (state, arm.trials, pixels.train_images, n),
    'close': (state, arm.trials, pixels.train_images),
    'evaluate': (sums, state.params, state.batch_stats, pixels[1:], n, n),
  }
  return {
    name: (getattr(arm.programs, name).lower(*args), args, used[name])
    for name, args in given.items()
  }


@pytest.mark.parametrize('name', ['update', 'close', 'evaluate'])
def test_data_are_arguments_not_constants(lowered, name):
  program, given, used = lowered[name]
  size = 2048 * 16 * 16
  assert _bytes(given[2].test_images) == size
  compiled = program.compile()
  # As text a constant takes no less room than its bytes.
  assert len(program.as_text()) < size
  assert len(compiled.as_text()) < size
  memory = compiled.memory_analysis()
  assert _bytes(used) <= memory.argument_size_in_bytes <= _bytes(given)
  if name != 'evaluate':  # The state is updated in place.
    assert memory.alias_size_in_bytes >= _bytes(given[0])


def test_all_epochs_share_one_compiled_program(compiled):
  state = NORMED.start()
  for epoch in range(3):
    state = NORMED.programs.epoch(state, NORMED.trials, NORMED.pixels)
    NORMED.evaluate(state)
    if epoch:
      assert not compiled
    compiled.clear()
