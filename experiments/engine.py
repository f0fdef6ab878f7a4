"""The engine: an epoch of all replicas is one compiled program.

A replica is one training run: a seed and a learning rate. The replicas of an
arm form the leading axis of the state. Everything a replica draws, that is its
initialisation, subset, label noise, data order, dropout and augmentation, is
derived from its seed alone, so that the same seed gives every optimizer the
same of each: comparisons are paired.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np
import optax

from experiments import augmentation
from experiments import subsets
from experiments.datasets import Dataset
from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import NeuroplasticState

# The streams of a seed; a number must not change or be used again.
_INIT, _ORDER, _DROPOUT, _AUGMENT, _SUBSET, _NOISE = range(6)

MakeOptimizer = Callable[[jax.Array], optax.GradientTransformationExtraArgs]


class Replicas(NamedTuple):
  """What tells replicas apart; r of them.

  Attributes:
    seed: uint32 [r].
    learning_rate: float32 [r].
    indices: int32 [r, n], which training images a replica sees.
    labels: int32 [r, n], what it takes them for.
  """

  seed: jax.Array
  learning_rate: jax.Array
  indices: jax.Array
  labels: jax.Array

  def at_learning_rate(self, learning_rate: float) -> 'Replicas':
    """The same replicas, all at this learning rate."""
    rates = jnp.full_like(self.learning_rate, learning_rate)
    return self._replace(learning_rate=rates)


class Pixels(NamedTuple):
  """The data, on the device; all replicas share it.

  Attributes:
    train_images: uint8 [N, h, w, c].
    test_images: uint8 [m, h, w, c].
    test_labels: int32 [m].
  """

  train_images: jax.Array
  test_images: jax.Array
  test_labels: jax.Array


class TrainState(NamedTuple):
  """All that changes while a replica trains.

  Attributes:
    step: updates so far, int32.
    params: the model's parameters.
    batch_stats: the model's batch statistics; empty for most models.
    opt_state: the optimizer's state.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: optax.OptState


class Metrics(NamedTuple):
  """Of one pass over a data set.

  Attributes:
    loss: mean, float32 [r].
    accuracy: float32 [r].
    diagnostics: of the last update, from `get_diagnostics`, with a leading
      axis of replicas; None where there are none.
  """

  loss: jax.Array
  accuracy: jax.Array
  diagnostics: dict[str, Any] | None = None


def make_replicas(
  dataset: Dataset,
  seeds: list[int],
  *,
  fraction: float = 1.0,
  label_noise: float = 0.0,
) -> Replicas:
  """One replica for each seed, with its own subset and label noise.

  Args:
    dataset: the data set.
    seeds: the seeds.
    fraction: how much of the training set to keep, in (0, 1].
    label_noise: the share of wrong training labels, in [0, 1).

  Returns:
    The replicas, at learning rate 1.
  """
  labels, indices = [], []
  for seed in seeds:
    noisy = subsets.symmetric_label_noise(
      dataset.train_labels, label_noise, dataset.num_classes, _key(seed, _NOISE)
    )
    kept = subsets.stratified_subset(
      dataset.train_labels, fraction, _key(seed, _SUBSET)
    )
    indices.append(kept)
    labels.append(noisy[kept])
  return Replicas(
    seed=jnp.asarray(seeds, jnp.uint32),
    learning_rate=jnp.ones(len(seeds), jnp.float32),
    indices=jnp.asarray(np.stack(indices)),
    labels=jnp.asarray(np.stack(labels)),
  )


def _key(seed: jax.typing.ArrayLike, stream: int) -> jax.Array:
  return jax.random.fold_in(jax.random.key(seed), stream)


def _take_diagnostics(state: TrainState) -> tuple[TrainState, Any]:
  """The state without diagnostics, and those."""
  is_ours = lambda x: isinstance(x, NeuroplasticState)
  opt_state = jax.tree.map(
    lambda x: x._replace(diagnostics=None) if is_ours(x) else x,
    state.opt_state,
    is_leaf=is_ours,
  )
  return state._replace(opt_state=opt_state), get_diagnostics(state.opt_state)


def to_device(dataset: Dataset) -> Pixels:
  """The data set, put on the device."""
  return Pixels(
    jnp.asarray(dataset.train_images),
    jnp.asarray(dataset.test_images),
    jnp.asarray(dataset.test_labels),
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Trains the replicas of one arm.

  Attributes:
    dataset: the data set.
    make_model: a class of `experiments.models`.
    make_optimizer: the optimizer, from a replica's learning rate.
    make_diagnosed: the same, with diagnostics; None for none. It makes the last
      update of an epoch, so that diagnostics cost what one update of theirs
      does.
    batch_size: examples an update; the last one of an epoch has what is left.
    lanes: how many replicas run at once on a device; the others wait. None
      for all.
    eval_batch_size: examples at once where nothing is learned.
  """

  dataset: Dataset
  make_model: Callable[..., nnx.Module]
  make_optimizer: MakeOptimizer
  batch_size: int
  lanes: int | None = None
  make_diagnosed: MakeOptimizer | None = None
  eval_batch_size: int = 1000

  @functools.cached_property
  def _graphdef(self) -> Any:
    abstract = nnx.eval_shape(lambda: self._model(jax.random.key(0)))
    graphdef, *_ = nnx.split(abstract, nnx.Param, nnx.BatchStat)
    return graphdef

  def _model(self, key: jax.Array) -> nnx.Module:
    shape = self.dataset.train_images.shape[1:]
    return self.make_model(shape, self.dataset.num_classes, rngs=nnx.Rngs(key))

  def _inputs(self, images: jax.Array) -> jax.Array:
    data = self.dataset
    return augmentation.normalize(images, data.pixel_max, data.mean, data.std)

  def init(self, replicas: Replicas) -> TrainState:
    """The state before the first update."""

    def init(replica: Replicas) -> TrainState:
      model = self._model(_key(replica.seed, _INIT))
      params = nnx.state(model, nnx.Param)
      optimizer = self.make_optimizer(replica.learning_rate)
      return TrainState(
        step=jnp.zeros([], jnp.int32),
        params=params,
        batch_stats=nnx.state(model, nnx.BatchStat),
        opt_state=optimizer.init(params),
      )

    return self._map(init)(replicas)

  def train_epoch(
    self, state: TrainState, replicas: Replicas, pixels: Pixels
  ) -> tuple[TrainState, Metrics]:
    """One pass over each replica's training set, in an order of its own.

    Args:
      state: before the epoch.
      replicas: the replicas.
      pixels: the data.

    Returns:
      The state after it, and the mean loss and accuracy as they were met on
      the way, with dropout and augmentation on.
    """
    return self._map(self._train_epoch)(state, replicas, pixels=pixels)

  def evaluate(self, state: TrainState, pixels: Pixels) -> Metrics:
    """Loss and accuracy on the test set, with nothing random."""
    return self._map(self._evaluate)(state, pixels=pixels)

  def _train_epoch(
    self, state: TrainState, replica: Replicas, *, pixels: Pixels
  ) -> tuple[TrainState, Metrics]:
    count = len(replica.indices)
    size = min(count, self.batch_size)
    epoch = state.step // math.ceil(count / size)
    order_key = jax.random.fold_in(_key(replica.seed, _ORDER), epoch)
    order = jax.random.permutation(order_key, count)
    step = functools.partial(self.step, replica=replica, pixels=pixels)

    # The last update stands apart: its batch may be smaller.
    steps = math.ceil(count / size) - 1
    whole = steps * size
    batches = order[:whole].reshape(steps, size)
    state, sums = jax.lax.scan(step, state, batches)
    state, last = step(state, order[whole:], diagnose=True)
    loss, correct = (jnp.sum(x) + y for x, y in zip(sums, last, strict=True))
    diagnostics = None
    if self.make_diagnosed:
      state, diagnostics = _take_diagnostics(state)
    return state, Metrics(loss / count, correct / count, diagnostics)

  def step(
    self,
    state: TrainState,
    batch: jax.Array,
    *,
    replica: Replicas,
    pixels: Pixels,
    diagnose: bool = False,
  ) -> tuple[TrainState, tuple[jax.Array, jax.Array]]:
    """One update of one replica.

    Args:
      state: before it.
      batch: int32 [b], which of the replica's examples.
      replica: the replica, without an axis of replicas.
      pixels: the data.
      diagnose: whether `make_diagnosed` makes the update.

    Returns:
      The state after it, and the sums over the batch of the loss and of what
      was classified correctly.
    """
    draw = lambda stream: jax.random.fold_in(
      _key(replica.seed, stream), state.step
    )
    images = pixels.train_images[replica.indices[batch]]
    labels = replica.labels[batch]
    if self.dataset.augment:
      images = augmentation.random_crop_flip(draw(_AUGMENT), images)
    inputs = self._inputs(images)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      model = nnx.merge(self._graphdef, params, state.batch_stats, copy=True)
      logits = model(inputs, train=True, key=draw(_DROPOUT))
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      correct = jnp.sum(jnp.argmax(logits, -1) == labels)
      return jnp.mean(losses), (nnx.state(model, nnx.BatchStat), correct)

    (loss, (batch_stats, correct)), gradient = jax.value_and_grad(
      loss_fn, has_aux=True
    )(state.params)
    make_optimizer = self.make_optimizer
    if diagnose and self.make_diagnosed:
      make_optimizer = self.make_diagnosed
    optimizer = make_optimizer(replica.learning_rate)
    updates, opt_state = optimizer.update(
      gradient, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    new = TrainState(state.step + 1, params, batch_stats, opt_state)
    return new, (loss * len(batch), correct)

  def _evaluate(self, state: TrainState, *, pixels: Pixels) -> Metrics:
    model = nnx.merge(
      self._graphdef, state.params, state.batch_stats, copy=True
    )

    def sums(images: jax.Array, labels: jax.Array) -> jax.Array:
      logits = model(self._inputs(images), train=False)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      correct = jnp.argmax(logits, -1) == labels
      return jnp.stack([jnp.sum(losses), jnp.sum(correct)])

    images, labels = pixels.test_images, pixels.test_labels
    count = len(labels)
    size = min(count, self.eval_batch_size)
    whole = count // size * size
    batched = lambda x: x[:whole].reshape(-1, size, *x.shape[1:])
    per_batch = jax.lax.map(
      lambda batch: sums(*batch), (batched(images), batched(labels))
    )
    total = jnp.sum(per_batch, axis=0)
    if whole < count:
      total += sums(images[whole:], labels[whole:])
    total = total / count
    return Metrics(loss=total[0], accuracy=total[1])

  def _map(self, function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps over replicas: split over devices, `lanes` at once on each."""

    def on_device(args: Any, shared: Any) -> Any:
      count = len(jax.tree.leaves(args)[0])
      lanes = min(count, self.lanes or count)

      def one(xs: Any) -> Any:
        # Nothing inside is moved out of the loop, or fused with what is there,
        # so that a replica comes out the same to the last bit however many
        # others a device has.
        xs, others = jax.lax.optimization_barrier((xs, shared))
        return jax.lax.optimization_barrier(function(*xs, **others))

      # Not a vmap over one replica: batched products of matrices are slower.
      return jax.lax.map(one, args, batch_size=None if lanes == 1 else lanes)

    def mapped(*args: Any, **shared: Any) -> Any:
      count = len(jax.tree.leaves(args)[0])
      # As few devices as take no longer than all of them would; but every
      # process has to take part.
      devices = jax.device_count()
      if jax.process_count() == 1:
        devices = math.ceil(count / math.ceil(count / devices))
      if devices == 1:
        return on_device(args, shared)
      mesh = jax.make_mesh(
        (devices,),
        ('replica',),
        axis_types=(AxisType.Auto,),
        devices=jax.devices()[:devices],
      )
      split, whole = PartitionSpec('replica'), PartitionSpec()
      on_devices = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(split, whole),
        out_specs=split,
        # What is replicated inside is not to be proved: nothing is reduced.
        check_vma=False,
      )
      if count % devices == 0:
        return on_devices(args, shared)
      # Every device gets as many; where they do not go round, some are trained
      # twice. The state between epochs is then replicated.
      padded = math.ceil(count / devices) * devices
      args = jax.tree.map(lambda x: x[jnp.arange(padded) % count], args)
      return jax.lax.with_sharding_constraint(
        jax.tree.map(lambda x: x[:count], on_devices(args, shared)),
        NamedSharding(mesh, whole),
      )

    return mapped
