"""The engine: whole epochs, paired trials, one program, statistics in place.

Most of it is seen through a model that writes down what it is given: the
engine treats what it writes as batch statistics.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import data
from experiments.models import mlp
from experiments.training import engine
from experiments.training import trials
from tests.experiments import program

SGD = lambda numbers: optax.sgd(numbers['learning_rate'])
ADAM = lambda numbers: optax.adam(numbers['learning_rate'])
STEPS = 23  # As many as the models can write down.


class Diary(nnx.Module):
  """Images are numbers: their pixel. Logits point at number % classes."""

  def __init__(self, shape, num_classes, *, rngs):
    del shape
    self.num_classes = num_classes
    self.weight = nnx.Param(jax.random.normal(rngs.params(), (num_classes,)))
    self.step = nnx.BatchStat(jnp.zeros([], jnp.int32))
    self.times_seen = nnx.BatchStat(jnp.zeros(256, jnp.int32))
    self.last_seen = nnx.BatchStat(jnp.full(256, -1))
    self.key = nnx.BatchStat(jnp.zeros((STEPS, 2), jnp.uint32))

  def __call__(self, images, *, train, key=None):
    numbers = images[:, 0, 0, 0].astype(jnp.int32)
    if train:
      step = self.step[...]
      self.times_seen[...] = self.times_seen[...].at[numbers].add(1)
      self.last_seen[...] = self.last_seen[...].at[numbers].set(step)
      self.key[...] = self.key[...].at[step].set(jax.random.key_data(key))
      self.step[...] = step + 1
    targets = jax.nn.one_hot(numbers % self.num_classes, self.num_classes)
    # A gradient for the parameter that leaves every prediction as it is.
    return 50.0 * targets + 0.1 * jnp.tanh(self.weight[...])


class Normed(nnx.Module):
  """A linear model on batch-normalised pixels."""

  def __init__(self, shape, num_classes, *, rngs):
    size = math.prod(shape)
    self.norm = nnx.BatchNorm(size, momentum=0.9, rngs=rngs)
    self.head = nnx.Linear(size, num_classes, rngs=rngs)

  def __call__(self, images, *, train, key=None):
    del key
    x = images.reshape(len(images), -1)
    return self.head(self.norm(x, use_running_average=not train))


def _numbers(train=23, test=7, classes=3) -> data.Dataset:
  """Images of one pixel, which is their number; the label is its remainder."""
  pixels = np.arange(train + test, dtype=np.uint8)[:, None, None, None]
  labels = np.arange(train + test, dtype=np.int32) % classes
  return data.Dataset(
    data.Spec(
      'numbers',
      shape=(1, 1, 1),
      num_classes=classes,
      pixel_max=1,
      mean=(0.0,),
      std=(1.0,),
    ),
    train_images=pixels[:train],
    train_labels=labels[:train],
    test_images=pixels[train:],
    test_labels=labels[train:],
  )


NUMBERS = _numbers()
NOISE = data.load('synthetic:4x4x1:3:23:10')


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
  """The tests have more, over which trials would be split."""
  monkeypatch.setattr(jax, 'device_count', lambda: 1)


@dataclasses.dataclass(frozen=True)
class Arm:
  """An engine with everything that it is called with."""

  dataset: data.Dataset = NUMBERS
  model: Callable[..., nnx.Module] = Diary
  optimizer: Callable[..., optax.GradientTransformation] = SGD
  learning_rate: float | tuple[float, ...] = 0.1
  seeds: tuple[int, ...] = (0, 1, 2)
  batch_size: int = 5
  lanes: int | None = 1
  fraction: float = 1.0
  label_noise: float = 0.0

  @property
  def programs(self) -> 'Programs':
    return _programs(
      self.dataset.spec, self.model, self.optimizer, self.batch_size, self.lanes
    )

  @functools.cached_property
  def trials(self) -> trials.Trials:
    found = trials.make_trials(
      self.dataset,
      list(self.seeds),
      fraction=self.fraction,
      label_noise=self.label_noise,
    )
    if isinstance(self.learning_rate, tuple):
      rates = jnp.array(self.learning_rate)
      return found._replace(numbers={'learning_rate': rates})
    return found.at({'learning_rate': self.learning_rate})

  @property
  def pixels(self) -> engine.Pixels:
    return engine.to_device(self.dataset)

  def start(self) -> engine.TrainState:
    return self.programs.init(self.trials)

  def train(self, epochs=1) -> tuple[engine.TrainState, list[engine.Metrics]]:
    """NumPy arrays of the state at the end and the metrics of every epoch."""
    state, metrics = self.start(), []
    for _ in range(epochs):
      state, found = self.programs.epoch(state, self.trials, self.pixels)
      metrics.append(_numpy(found))
    return _numpy(state), metrics

  def evaluate(self, state) -> engine.Metrics:
    return _numpy(self.programs.evaluate(state, self.pixels))


class Programs(NamedTuple):
  """What an engine compiles, and again only for other shapes."""

  trainer: engine.Trainer
  init: Any
  epoch: Any
  evaluate: Any


@functools.cache
def _programs(spec, model, optimizer, batch_size, lanes) -> Programs:
  """Shared by the tests: seeds, rates and labels are arguments."""
  trainer = engine.Trainer(
    spec=spec,
    make_model=model,
    make_optimizer=optimizer,
    batch_size=batch_size,
    lanes=lanes,
    eval_batch_size=3,
  )
  jit = functools.partial(jax.jit, compiler_options=program.quick())
  return Programs(
    trainer,
    jit(trainer.init),
    jit(trainer.train_epoch, donate_argnums=0),
    jit(trainer.evaluate),
  )


def _numpy(tree):
  return jax.tree.map(np.asarray, tree)


def _params(state):
  """As a plain dictionary of arrays."""
  return _numpy(nnx.to_pure_dict(state.params))


def _stats(state):
  return _numpy(nnx.to_pure_dict(state.batch_stats))


def _trial(tree, i):
  return jax.tree.map(lambda x: np.asarray(x)[i], tree)


def _assert_same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def _assert_close(one, other, rtol=1e-4, atol=1e-6):
  close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
  jax.tree.map(close, one, other)


# An epoch is one pass.


@pytest.mark.parametrize('batch_size', [5, 23, 10**12])
def test_an_epoch_is_one_pass_over_every_example(batch_size):
  state, metrics = Arm(batch_size=batch_size).train()
  stats = _stats(state)
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
    stats = _stats(Arm().train(epochs)[0])
    assert (stats['times_seen'][:, :23] == epochs).all()
    order = stats['last_seen'][:, :23] - 5 * (epochs - 1)
    assert set(order.ravel().tolist()) == {0, 1, 2, 3, 4}
    orders += list(order)
  for i, one in enumerate(orders):
    for other in orders[:i]:
      assert (one != other).sum() > 5


# Two thirds of the examples, of which a quarter has a wrong label.
PAIRED = Arm(seeds=(3, 4, 9), fraction=0.65, label_noise=0.25, batch_size=8)


def test_a_subset_is_all_that_is_seen():
  stats = _stats(PAIRED.train(2)[0])
  for i in range(3):
    indices = np.asarray(PAIRED.trials.indices[i])
    assert len(set(indices.tolist())) == 15
    expected = np.zeros(256, int)
    expected[indices] = 2
    np.testing.assert_array_equal(stats['times_seen'][i], expected)


def test_wrong_labels_are_met_in_training_and_not_in_the_test():
  state, metrics = PAIRED.train()
  indices, labels = PAIRED.trials.indices, PAIRED.trials.labels
  right = (np.asarray(labels) == np.asarray(indices) % 3).mean(1)
  assert 0 < right.min() <= right.max() < 1
  np.testing.assert_allclose(metrics[0].accuracy, right, rtol=1e-6)
  np.testing.assert_array_equal(PAIRED.evaluate(state).accuracy, [1, 1, 1])


def _loss(weight, numbers, labels):
  """The loss of `Diary`, in float64."""
  logits = 50 * np.eye(3)[numbers % 3] + 0.1 * np.tanh(np.float64(weight))
  logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
  return -logits[np.arange(len(numbers)), labels].mean()


def test_the_loss_is_the_mean_over_examples():
  """The last batch, of 7, counts for seven examples and no more."""
  arm = dataclasses.replace(PAIRED, learning_rate=0.0)
  state, metrics = arm.train()
  for i in range(3):
    indices, labels = _trial(arm.trials[2:], i)
    expected = _loss(_params(state)['weight'][i], indices, labels)
    np.testing.assert_allclose(metrics[0].loss[i], expected, rtol=1e-5)


# Pairing.


def _of_seed(arm, seed):
  """All that is drawn for a seed, without what its optimizer makes of it."""
  drawn = {
    'init': _params(arm.start()),
    'stats': _stats(arm.train(2)[0]),
    'indices': arm.trials.indices,
    'labels': arm.trials.labels,
  }
  return _trial(drawn, arm.seeds.index(seed))


@pytest.fixture(name='seed3', scope='module')
def _seed3():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'device_count', lambda: 1)
    return _of_seed(dataclasses.replace(PAIRED, seeds=(3,)), 3)


@pytest.mark.parametrize(
  'change',
  [
    {},
    {'learning_rate': 7.0},
    {'seeds': (9, 5, 3)},
    {'optimizer': ADAM},
    {'lanes': 100},
    pytest.param({'lanes': 2}, marks=pytest.mark.slow),
  ],
)
def test_a_seed_draws_the_same_whatever_else_there_is(seed3, change):
  _assert_same(_of_seed(dataclasses.replace(PAIRED, **change), 3), seed3)


def test_other_seeds_draw_everything_anew(seed3):
  other = _of_seed(PAIRED, 4)
  assert (seed3['init']['weight'] != other['init']['weight']).all()
  for name in ('last_seen', 'key'):
    assert (seed3['stats'][name] != other['stats'][name]).any()
  for name in ('indices', 'labels'):
    assert (seed3[name] != other[name]).any()


def test_dropout_has_a_new_key_every_step(seed3):
  assert seed3['stats']['step'] == 4
  keys = {tuple(key) for key in seed3['stats']['key'][:4].tolist()}
  assert len(keys) == 4
  # None of them is what the initialisation or another stream is drawn from.
  for stream in range(6):
    key = jax.random.fold_in(jax.random.key(3), stream)
    assert tuple(jax.random.key_data(key).tolist()) not in keys


class Mean(nnx.Module):
  """Writes down the mean pixel of every batch."""

  def __init__(self, shape, num_classes, *, rngs):
    del shape, rngs
    self.weight = nnx.Param(jnp.zeros(num_classes))
    self.step = nnx.BatchStat(jnp.zeros([], jnp.int32))
    self.means = nnx.BatchStat(jnp.zeros(STEPS))

  def __call__(self, images, *, train, key=None):
    del key
    if train:
      step = self.step[...]
      self.means[...] = self.means[...].at[step].set(jnp.mean(images))
      self.step[...] = step + 1
    return jnp.zeros((len(images), 1)) + self.weight[...]


def test_augmentation_is_drawn_from_the_seed_and_the_step():
  """One image in batches of one, so that only the augmentation can differ."""
  image = dataclasses.replace(
    NOISE,
    spec=dataclasses.replace(NOISE.spec, augment=True),
    train_images=np.tile(NOISE.train_images[:1], (23, 1, 1, 1)),
  )
  arm = Arm(dataset=image, model=Mean, batch_size=1, seeds=(3, 5))
  state, _ = arm.train()
  means = _stats(state)['means']
  assert len(set(means.ravel().tolist())) > 15
  assert (means[0] != means[1]).any()
  other = dataclasses.replace(arm, lanes=2, seeds=(9, 3))
  np.testing.assert_array_equal(_stats(other.train()[0])['means'][1], means[0])


# Evaluation and batch statistics.


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
  found = _numpy(arm.programs.evaluate(state, pixels))
  expected = [_loss(w, numbers, labels) for w in _params(state)['weight']]
  np.testing.assert_allclose(found.loss, expected, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(
    found.accuracy, [1 - test // 2 / test] * 3, rtol=1e-6
  )


NORMED = Arm(dataset=NOISE, model=Normed, batch_size=10)


def test_batch_statistics_move_in_training_and_are_used_in_evaluation():
  before = _stats(NORMED.start())['norm']
  state, _ = NORMED.train()
  mean, var = (_stats(state)['norm'][name] for name in ('mean', 'var'))
  # Three steps of a tenth each, towards the moments of batches of pixels.
  assert (before['mean'] == 0).all()
  assert (before['var'] == 1).all()
  assert (mean[0] != mean[1]).all()
  assert (mean != 0).all()
  assert (var > 0.729).all()
  assert (var < 1).all()

  inputs = NOISE.test_images.reshape(10, -1) / 255 / 0.5 - 1
  found = NORMED.evaluate(state)
  for i in range(3):
    params = _trial(_params(state), i)
    x = (inputs - mean[i]) / np.sqrt(var[i] + 1e-5)
    x = x * params['norm']['scale'] + params['norm']['bias']
    logits = x @ params['head']['kernel'] + params['head']['bias']
    right = logits.argmax(-1) == NOISE.test_labels
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -logits[np.arange(10), NOISE.test_labels].mean()
    np.testing.assert_allclose(found.loss[i], loss, rtol=1e-4)
    np.testing.assert_allclose(found.accuracy[i], right.mean(), rtol=1e-6)


# Lanes, devices, programs.


def _outcome(arm):
  state, metrics = arm.train(2)
  return state, metrics, arm.evaluate(state)


@pytest.mark.parametrize(
  ('arm', 'lanes'),
  [
    (NORMED, 2),
    (NORMED, None),
    pytest.param(
      dataclasses.replace(NORMED, model=mlp.MLP), 2, marks=pytest.mark.slow
    ),
  ],
)
def test_lanes_change_nothing_but_the_rounding(arm, lanes):
  _assert_close(_outcome(dataclasses.replace(arm, lanes=lanes)), _outcome(arm))


def test_a_replica_is_what_it_is_alone():
  """To the last bit, whatever the seeds and learning rates beside it."""
  together = dataclasses.replace(NORMED, learning_rate=(0.1, 1e30, 0.01))
  state, metrics, test = _outcome(together)
  # One of them diverges, and stays alone with that.
  for found in (metrics[-1], test):
    assert np.isfinite(found.loss).tolist() == [True, False, True]
  for i in (0, 2):
    alone = dataclasses.replace(
      NORMED, seeds=(i,), learning_rate=together.learning_rate[i]
    )
    _assert_same(_trial(_outcome(alone), 0), _trial((state, metrics, test), i))


@pytest.mark.skipif(len(jax.devices()) < 4, reason='needs four devices')
@pytest.mark.parametrize(
  ('count', 'devices', 'used'),
  [
    (5, 4, 3),
    pytest.param(4, 4, 4, marks=pytest.mark.slow),
    pytest.param(7, 3, 3, marks=pytest.mark.slow),
  ],
)
def test_devices_change_nothing_at_all(count, devices, used, monkeypatch):
  arm = dataclasses.replace(NORMED, seeds=tuple(range(count)))
  expected = _outcome(arm)
  _programs.cache_clear()  # They were made for one device.
  try:
    monkeypatch.setattr(jax, 'device_count', lambda: devices)
    found = _outcome(arm)
    # No device has more to do than it must.
    assert len(arm.start().step.sharding.device_set) == used
  finally:
    _programs.cache_clear()
  _assert_same(found, expected)


def _bytes(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.fixture(name='compiled', scope='module')
def _compiled():
  """Programs for more data than a program takes room, and their arguments."""
  images = data.load('synthetic:16x16x1:3:2048:2048')
  arm = dataclasses.replace(NORMED, dataset=images, seeds=(0,), batch_size=2048)
  state = jax.eval_shape(arm.programs.trainer.init, arm.trials)
  pixels = arm.pixels
  given = {
    'epoch': (state, arm.trials, pixels),
    'evaluate': (state, pixels),
  }
  used = {
    'epoch': (state, arm.trials, pixels.train_images),
    'evaluate': (state.params, state.batch_stats, pixels[1:]),
  }
  return {
    name: (getattr(arm.programs, name).lower(*args), args, used[name])
    for name, args in given.items()
  }


@pytest.mark.parametrize('name', ['epoch', 'evaluate'])
def test_the_data_are_arguments_and_no_constants(compiled, name):
  lowered, given, used = compiled[name]
  size = 2048 * 16 * 16
  assert _bytes(given[-1].test_images) == size
  program = lowered.compile()
  # As text a constant takes no less room than its bytes.
  assert len(lowered.as_text()) < size
  assert len(program.as_text()) < size
  memory = program.memory_analysis()
  assert _bytes(used) <= memory.argument_size_in_bytes <= _bytes(given)
  if name == 'epoch':  # The state is updated in place.
    assert memory.alias_size_in_bytes >= _bytes(given[0])


def test_one_program_does_for_all_epochs():
  state = NORMED.start()
  sizes = []
  for _ in range(3):
    state, _ = NORMED.programs.epoch(state, NORMED.trials, NORMED.pixels)
    NORMED.evaluate(state)
    programs = NORMED.programs.epoch, NORMED.programs.evaluate
    sizes.append([program._cache_size() for program in programs])
  assert sizes[0] == sizes[1] == sizes[2]
