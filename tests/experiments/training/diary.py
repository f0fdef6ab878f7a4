"""Models that write down what the engine gives them, and how they are trained.

The engine treats what they write as batch statistics.
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

from experiments import data
from experiments.training import engine
from experiments.training import learning
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


def numbers(train=23, test=7, classes=3) -> data.Dataset:
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


NUMBERS = numbers()
NOISE = data.load('synthetic:4x4x1:3:23:10')


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
    return programs(
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
    rates = jnp.broadcast_to(jnp.array(self.learning_rate), len(self.seeds))
    return found._replace(hyperparameters={'learning_rate': rates})

  @property
  def pixels(self) -> engine.Pixels:
    return engine.to_device(self.dataset)

  def start(self) -> learning.TrainState:
    return self.programs.init(self.trials)

  def train(
    self, epochs=1
  ) -> tuple[learning.TrainState, list[learning.Metrics]]:
    """NumPy arrays of the state at the end and the metrics of every epoch."""
    state, metrics = self.start(), []
    for _ in range(epochs):
      state = self.programs.epoch(state, self.trials, self.pixels)
      sums = learning.Sums(state.loss, state.correct)
      examples = self.trials.indices.shape[1]
      metrics.append(learning.means(sums, examples))
    return to_numpy(state), metrics

  def evaluate(self, state, pixels=None) -> learning.Metrics:
    pixels = self.pixels if pixels is None else pixels
    trainer = self.programs.trainer
    zeros = trainer.no_sums(self.trials)
    # In two parts, as a session may.
    batches = trainer.batches(pixels)
    for first, n in ((0, 1), (1, batches - 1)):
      zeros = self.programs.evaluate(
        zeros, state, pixels, jnp.int32(first), jnp.int32(n)
      )
    return learning.means(zeros, len(pixels.test_labels))


class Programs(NamedTuple):
  """What an engine compiles, and again only for other shapes."""

  trainer: engine.Trainer
  init: Any
  update: Any
  close: Any
  evaluate: Any

  def epoch(self, state, trials, pixels):
    """The state after an epoch, cut in two where it can be."""
    left = self.trainer.feed.steps(trials) - 1
    for n in (left // 2, left - left // 2):
      state = self.update(state, trials, pixels, jnp.int32(n))
    return self.close(state, trials, pixels)[0]


@functools.cache
def programs(spec, model, optimizer, batch_size, lanes) -> Programs:
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
    jit(trainer.update, donate_argnums=0),
    jit(trainer.close, donate_argnums=0),
    jit(trainer.evaluate),
  )


def to_numpy(tree):
  return jax.tree.map(np.asarray, tree)


def params_of(state):
  """As a plain dictionary of arrays."""
  return to_numpy(nnx.to_pure_dict(state.params))


def stats_of(state):
  return to_numpy(nnx.to_pure_dict(state.batch_stats))


def of_trial(tree, i):
  return jax.tree.map(lambda x: np.asarray(x)[i], tree)


def assert_same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_close(one, other, rtol=1e-4, atol=1e-6):
  close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
  jax.tree.map(close, one, other)


# Two thirds of the examples, of which a quarter has a wrong label.
PAIRED = Arm(seeds=(3, 4, 9), fraction=0.65, label_noise=0.25, batch_size=8)

NORMED = Arm(dataset=NOISE, model=Normed, batch_size=10)
