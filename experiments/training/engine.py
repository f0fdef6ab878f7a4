"""The engine: an epoch of all trials of an arm is one compiled program."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from experiments.data import augmentation
from experiments.data import Dataset
from experiments.data import Spec
from experiments.training import keys
from experiments.training import mapping
from experiments.training.trials import Trial
from experiments.training.trials import Trials
from neuroplastic_optax import get_diagnostics

# From a trial's numbers, which are tracers.
MakeOptimizer = Callable[
  [Mapping[str, jax.Array]], optax.GradientTransformation
]

# 0.9⁶⁴ is a thousandth.
_RECOMPUTED_BATCHES = 64


class Pixels(NamedTuple):
  """The data, on the device; all trials share it.

  Attributes:
    train_images: uint8 [N, h, w, c].
    test_images: uint8 [m, h, w, c].
    test_labels: int32 [m].
  """

  train_images: jax.Array
  test_images: jax.Array
  test_labels: jax.Array


class TrainState(NamedTuple):
  """All that changes while a trial runs.

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
      axis of trials; None where there are none.
  """

  loss: jax.Array
  accuracy: jax.Array
  diagnostics: dict[str, Any] | None = None


def to_device(dataset: Dataset) -> Pixels:
  """The data set, put on the device."""
  return Pixels(
    jnp.asarray(dataset.train_images),
    jnp.asarray(dataset.test_images),
    jnp.asarray(dataset.test_labels),
  )


def descend(
  loss_fn: Callable[[Any], tuple[jax.Array, Any]],
  optimizer: optax.GradientTransformation,
  params: Any,
  opt_state: optax.OptState,
) -> tuple[Any, optax.OptState, jax.Array, Any]:
  """One update of some parameters.

  Args:
    loss_fn: of the parameters, the loss and whatever else comes of it.
    optimizer: what makes the update.
    params: the parameters.
    opt_state: the optimizer's state.

  Returns:
    The new parameters and state; the loss, and what else came of it, at the
    old ones.
  """
  (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
  updates, opt_state = optimizer.update(gradient, opt_state, params)
  return optax.apply_updates(params, updates), opt_state, loss, aux


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Trains the trials of one arm.

  Attributes:
    spec: the data set.
    make_model: from `(shape, num_classes, *, rngs)`, as of `ImageModel`.
    make_optimizer: the optimizer, from a trial's numbers.
    make_diagnosed: the same, with diagnostics; None for none. It makes the last
      update of an epoch, so that diagnostics cost what one update of theirs
      does.
    eval_params: what to evaluate at, from the optimizer's state and the
      parameters; None for the parameters.
    batch_size: examples an update; the last one of an epoch has what is left.
    lanes: how many trials run at once on a device; the others wait. None for
      all.
    eval_batch_size: examples at once where nothing is learned.
  """

  spec: Spec
  make_model: Callable[..., nnx.Module]
  make_optimizer: MakeOptimizer
  batch_size: int
  lanes: int | None = None
  make_diagnosed: MakeOptimizer | None = None
  eval_params: Callable[[optax.OptState, Any], Any] | None = None
  eval_batch_size: int = 1000

  @functools.cached_property
  def _graphdef(self) -> Any:
    abstract = nnx.eval_shape(lambda: self._model(jax.random.key(0)))
    graphdef, *_ = nnx.split(abstract, nnx.Param, nnx.BatchStat)
    return graphdef

  def _model(self, key: jax.Array) -> nnx.Module:
    return self.make_model(
      self.spec.shape, self.spec.num_classes, rngs=nnx.Rngs(key)
    )

  def _inputs(self, images: jax.Array) -> jax.Array:
    spec = self.spec
    return augmentation.normalize(images, spec.pixel_max, spec.mean, spec.std)

  def init(self, trials: Trials) -> TrainState:
    """The state of every trial before its first update."""
    return mapping.over_trials(self.init_one, self.lanes)(trials)

  def train_epoch(
    self, state: TrainState, trials: Trials, pixels: Pixels
  ) -> tuple[TrainState, Metrics]:
    """One pass over each trial's training set, in an order of its own.

    Args:
      state: before the epoch.
      trials: the trials.
      pixels: the data.

    Returns:
      The state after it, and the mean loss and accuracy as they were met on
      the way, with dropout and augmentation on.
    """
    train = mapping.over_trials(self._train_epoch, self.lanes)
    return train(state, trials, pixels=pixels)

  def evaluate(self, state: TrainState, pixels: Pixels) -> Metrics:
    """Loss and accuracy on the test set, with nothing random."""
    return mapping.over_trials(self._evaluate, self.lanes)(state, pixels=pixels)

  def init_one(self, trial: Trial) -> TrainState:
    """The state of one trial before its first update."""
    model = self._model(keys.key(trial.seed, keys.INIT))
    params = nnx.state(model, nnx.Param)
    return TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      batch_stats=nnx.state(model, nnx.BatchStat),
      opt_state=self.make_optimizer(trial.numbers).init(params),
    )

  def step(
    self,
    state: TrainState,
    batch: jax.Array,
    *,
    trial: Trial,
    pixels: Pixels,
    diagnose: bool = False,
  ) -> tuple[TrainState, tuple[jax.Array, jax.Array]]:
    """One update of one trial.

    Args:
      state: before it.
      batch: int32 [b], which of the trial's examples.
      trial: the trial.
      pixels: the data.
      diagnose: whether `make_diagnosed` makes the update.

    Returns:
      The state after it, and the sums over the batch of the loss and of what
      was classified correctly.
    """
    draw = lambda stream: jax.random.fold_in(
      keys.key(trial.seed, stream), state.step
    )
    images = pixels.train_images[trial.indices[batch]]
    labels = trial.labels[batch]
    if self.spec.augment:
      images = augmentation.random_crop_flip(draw(keys.AUGMENT), images)
    inputs = self._inputs(images)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      model = nnx.merge(self._graphdef, params, state.batch_stats, copy=True)
      logits = model(inputs, train=True, key=draw(keys.DROPOUT))
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      correct = jnp.sum(jnp.argmax(logits, -1) == labels)
      return jnp.mean(losses), (nnx.state(model, nnx.BatchStat), correct)

    make_optimizer = self.make_optimizer
    if diagnose and self.make_diagnosed:
      make_optimizer = self.make_diagnosed
    params, opt_state, loss, (batch_stats, correct) = descend(
      loss_fn, make_optimizer(trial.numbers), state.params, state.opt_state
    )
    new = TrainState(state.step + 1, params, batch_stats, opt_state)
    return new, (loss * len(batch), correct)

  def _train_epoch(
    self, state: TrainState, trial: Trial, *, pixels: Pixels
  ) -> tuple[TrainState, Metrics]:
    count = len(trial.indices)
    size = min(count, self.batch_size)
    epoch = state.step // math.ceil(count / size)
    order_key = jax.random.fold_in(keys.key(trial.seed, keys.ORDER), epoch)
    order = jax.random.permutation(order_key, count)
    step = functools.partial(self.step, trial=trial, pixels=pixels)

    # The last update stands apart: its batch may be smaller.
    steps = math.ceil(count / size) - 1
    whole = steps * size
    batches = order[:whole].reshape(steps, size)
    state, sums = jax.lax.scan(step, state, batches)
    state, last = step(state, order[whole:], diagnose=True)
    loss, correct = (jnp.sum(x) + y for x, y in zip(sums, last, strict=True))
    diagnostics = None
    if self.make_diagnosed:
      diagnostics = get_diagnostics(state.opt_state)
      # What is carried from update to update has none.
      state = state._replace(
        opt_state=optax.tree.set(state.opt_state, diagnostics=None)
      )
    return state, Metrics(loss / count, correct / count, diagnostics)

  def _evaluate(self, state: TrainState, *, pixels: Pixels) -> Metrics:
    params, batch_stats = state.params, state.batch_stats
    if self.eval_params:
      params = self.eval_params(state.opt_state, params)
      if jax.tree.leaves(batch_stats):
        batch_stats = self._batch_stats_at(params, batch_stats, pixels)
    model = nnx.merge(self._graphdef, params, batch_stats, copy=True)

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

  def _batch_stats_at(
    self, params: Any, batch_stats: Any, pixels: Pixels
  ) -> Any:
    """Batch statistics of parameters that were not trained themselves.

    Those that training left are of the parameters that it passed through. The
    model's own running averages are taken on from there, over batches of the
    training images in their order, without labels or augmentation: after
    `_RECOMPUTED_BATCHES`, averages with a momentum of 0.9 have forgotten where
    they began.

    Args:
      params: the parameters.
      batch_stats: what training left.
      pixels: the data.

    Returns:
      The batch statistics.
    """
    images = pixels.train_images
    size = min(len(images), self.batch_size)

    def forward(i: jax.Array, batch_stats: Any) -> Any:
      model = nnx.merge(self._graphdef, params, batch_stats, copy=True)
      batch = images[(i * size + jnp.arange(size)) % len(images)]
      model(self._inputs(batch), train=True, key=jax.random.key(0))
      return nnx.state(model, nnx.BatchStat)

    return jax.lax.fori_loop(0, _RECOMPUTED_BATCHES, forward, batch_stats)
