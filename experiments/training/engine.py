"""The engine: all trials of an arm make n updates in one compiled program.

n is an argument, so that a program of any length is one compilation: an epoch
is some calls of `update`, then one of `close`, which makes its last update.
Results do not depend on how an epoch is cut: if n were known, XLA would compile
the loop otherwise for each n.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from experiments.data import augmentation
from experiments.data import Dataset
from experiments.data import Spec
from experiments.training import keys
from experiments.training import learning
from experiments.training import mapping
from experiments.training.feeds import Batch
from experiments.training.feeds import Epochs
from experiments.training.feeds import Feed
from experiments.training.feeds import Pixels
from experiments.training.learning import Learned
from experiments.training.learning import Place
from experiments.training.learning import Sums
from experiments.training.learning import TrainState
from experiments.training.records import METRICS
from experiments.training.trials import Trial
from experiments.training.trials import Trials
from neuroplastic_optax import get_diagnostics

# From a trial's hyperparameters, which are tracers.
MakeOptimizer = Callable[
  [Mapping[str, jax.Array]], optax.GradientTransformation
]

# 0.9⁶⁴ is a thousandth.
_RECOMPUTED_BATCHES = 64


def to_device(dataset: Dataset) -> Pixels:
  """The data set, put on the device."""
  return Pixels(
    jnp.asarray(dataset.train_images),
    jnp.asarray(dataset.test_images),
    jnp.asarray(dataset.test_labels),
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Trains the trials of one arm.

  Attributes:
    spec: the data set.
    make_model: from `(shape, num_classes, *, rngs)`, as of `ImageModel`.
    make_optimizer: the optimizer, from a trial's hyperparameters.
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

  @property
  def metrics(self) -> tuple[str, ...]:
    """The names of what is recorded of an epoch."""
    return METRICS

  @functools.cached_property
  def feed(self) -> Feed:
    """What gives each update its batch."""
    return Epochs(self.batch_size)

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

  def batches(self, pixels: Pixels) -> int:
    """How many batches the test set has."""
    count = len(pixels.test_labels)
    return math.ceil(count / min(count, self.eval_batch_size))

  def init(self, trials: Trials) -> TrainState:
    """The state of every trial before its first update."""
    return self._map(self.init_one)(trials)

  def update(
    self,
    state: TrainState,
    trials: Trials,
    pixels: Pixels,
    n: jax.typing.ArrayLike,
  ) -> TrainState:
    """Makes n updates of each trial, none of them the last of an epoch."""
    # One number for all trials, so that they branch together.
    first = state.step[0]
    return self._map(self._update)(
      state, trials, pixels=pixels, n=n, first=first
    )

  def close(
    self, state: TrainState, trials: Trials, pixels: Pixels
  ) -> tuple[TrainState, dict[str, Any] | None]:
    """Makes the last update of an epoch, whose batch may be smaller.

    Returns:
      The state after it; and what `get_diagnostics` says of the update, with a
      leading axis of trials, or None where there is no `make_diagnosed`.
    """
    first = state.step[0]
    return self._map(self._close)(state, trials, pixels=pixels, first=first)

  def evaluated_at(
    self, state: TrainState, trials: Trials, pixels: Pixels
  ) -> TrainState:
    """The state whose parameters and batch statistics are to be evaluated.

    It is the state itself, but for `eval_params`. Then the batch statistics,
    which are of the parameters that training passed through, are taken on from
    there, by the model's own running averages over batches of the trial's
    images in their order, without labels or augmentation. After
    `_RECOMPUTED_BATCHES`, averages with a momentum of 0.9 have forgotten where
    they began.
    """
    if not self.eval_params:
      return state
    return self._map(self._evaluated_at)(state, trials, pixels=pixels)

  def no_sums(self, trials: Trials) -> Sums:
    """What `evaluate` starts from."""
    shape = trials.seed.shape
    return Sums(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.int32))

  def evaluate(
    self,
    sums: Sums,
    state: TrainState,
    pixels: Pixels,
    first: jax.typing.ArrayLike,
    n: jax.typing.ArrayLike,
  ) -> Sums:
    """Adds the sums over n batches of the test set, with nothing random.

    `first` is the first of them, and `state` what `evaluated_at` gave.
    """
    evaluate = self._map(self._evaluate)
    return evaluate(sums, state, pixels=pixels, first=first, n=n)

  def measured(self, state: TrainState, trials: Trials) -> dict[str, Any]:
    """Of an epoch that has ended, by name a number for each trial."""
    sums = Sums(state.loss, state.correct)
    found = learning.means(sums, self.feed.examples(trials))
    return {'train_loss': found.loss, 'train_accuracy': found.accuracy}

  def _map(self, function: Callable[..., Any]) -> Callable[..., Any]:
    return mapping.over_trials(function, self.lanes)

  def init_one(self, trial: Trial) -> TrainState:
    """The state of one trial before its first update."""
    params, batch_stats, opt_state = self.network(
      keys.key(trial.seed, keys.INIT), trial
    )
    return TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      batch_stats=batch_stats,
      opt_state=opt_state,
      loss=jnp.zeros([], jnp.float32),
      correct=jnp.zeros([], jnp.int32),
    )

  def network(self, key: jax.Array, trial: Trial) -> tuple[Any, Any, Any]:
    """Parameters, batch statistics and the optimizer's state, all new."""
    model = self._model(key)
    params = nnx.state(model, nnx.Param)
    opt_state = self.make_optimizer(trial.hyperparameters).init(params)
    return params, nnx.state(model, nnx.BatchStat), opt_state

  def step(
    self,
    state: TrainState,
    batch: Batch,
    *,
    trial: Trial,
    diagnose: bool = False,
  ) -> Learned:
    """One update of one trial; `make_diagnosed` makes it if it is diagnosed."""
    loss_fn = self._objective(state, batch, trial)
    make_optimizer = self.make_optimizer
    if diagnose and self.make_diagnosed:
      make_optimizer = self.make_diagnosed
    params, opt_state, loss, (batch_stats, correct) = learning.descend(
      loss_fn,
      make_optimizer(trial.hyperparameters),
      state.params,
      state.opt_state,
      new_task=batch.new_task,
    )
    state = TrainState(
      state.step + 1,
      params,
      batch_stats,
      opt_state,
      state.loss + loss * len(batch.labels),
      state.correct + correct,
      state.readings,
    )
    return Learned(state, loss, lambda params: loss_fn(params)[0])

  def _objective(
    self, state: TrainState, batch: Batch, trial: Trial
  ) -> Callable[[Any], tuple[jax.Array, Any]]:
    """The loss on a batch, of any parameters; see `learning.descend`."""
    draw = lambda stream: jax.random.fold_in(
      keys.key(trial.seed, stream), state.step
    )
    images = batch.images
    if self.spec.augment:
      images = augmentation.random_crop_flip(draw(keys.AUGMENT), images)
    inputs = self._inputs(images)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      model = nnx.merge(self._graphdef, params, state.batch_stats, copy=True)
      logits = model(inputs, train=True, key=draw(keys.DROPOUT))
      logits = learning.answers(logits, batch.allowed)
      losses, correct = learning.score(logits, batch.labels)
      stats = nnx.state(model, nnx.BatchStat)
      return jnp.mean(losses), (stats, jnp.sum(correct))

    return loss_fn

  def _begun(
    self, state: TrainState, trial: Trial, first: jax.Array
  ) -> TrainState:
    """The state, with the sums of the epoch before forgotten."""
    new = first % self.feed.steps(trial) == 0
    return state._replace(
      loss=jnp.where(new, jnp.zeros_like(state.loss), state.loss),
      correct=jnp.where(new, jnp.zeros_like(state.correct), state.correct),
    )

  def _update(
    self,
    state: TrainState,
    trial: Trial,
    *,
    pixels: Pixels,
    n: jax.Array,
    first: jax.Array,
  ) -> TrainState:
    plan = self.feed.plan(trial, pixels, first)

    def step(
      i: jax.Array, carried: tuple[TrainState, Any]
    ) -> tuple[TrainState, Any]:
      state, plan = carried
      batch, plan = self.feed.batch(plan, trial, pixels, first + i)
      place = Place(trial, pixels, plan, first + i)
      return self._advanced(state, batch, place, diagnose=False), plan

    begun = self._begun(state, trial, first)
    return jax.lax.fori_loop(0, n, step, (begun, plan))[0]

  def _close(
    self,
    state: TrainState,
    trial: Trial,
    *,
    pixels: Pixels,
    first: jax.Array,
  ) -> tuple[TrainState, dict[str, Any] | None]:
    plan = self.feed.plan(trial, pixels, first)
    batch, plan = self.feed.last(plan, trial, pixels, first)
    place = Place(trial, pixels, plan, first)
    state = self._begun(state, trial, first)
    state = self._advanced(state, batch, place, diagnose=True)
    state = self._ended(state, place)
    if not self.make_diagnosed:
      return state, None
    diagnostics = get_diagnostics(state.opt_state)
    # What is carried from update to update has none.
    opt_state = optax.tree.set(state.opt_state, diagnostics=None)
    return state._replace(opt_state=opt_state), diagnostics

  def _advanced(
    self, state: TrainState, batch: Batch, place: Place, *, diagnose: bool
  ) -> TrainState:
    """The state after an update, with what is measured of it."""
    return self.step(state, batch, trial=place.trial, diagnose=diagnose).state

  def _ended(self, state: TrainState, place: Place) -> TrainState:
    """The state after an epoch, with what is measured of it."""
    del place
    return state

  def _evaluated_at(
    self, state: TrainState, trial: Trial, *, pixels: Pixels
  ) -> TrainState:
    assert self.eval_params is not None
    params = self.eval_params(state.opt_state, state.params)
    state = state._replace(params=params)
    if not jax.tree.leaves(state.batch_stats):
      return state
    count = len(trial.indices)
    size = min(count, self.batch_size)

    def forward(i: jax.Array, batch_stats: Any) -> Any:
      model: Any = nnx.merge(self._graphdef, params, batch_stats, copy=True)
      batch = trial.indices[(i * size + jnp.arange(size)) % count]
      images = pixels.train_images[batch]
      model(self._inputs(images), train=True, key=jax.random.key(0))
      return nnx.state(model, nnx.BatchStat)

    batch_stats = jax.lax.fori_loop(
      0, _RECOMPUTED_BATCHES, forward, state.batch_stats
    )
    return state._replace(batch_stats=batch_stats)

  def _evaluate(
    self,
    sums: Sums,
    state: TrainState,
    *,
    pixels: Pixels,
    first: jax.Array,
    n: jax.Array,
  ) -> Sums:
    model = nnx.merge(
      self._graphdef, state.params, state.batch_stats, copy=True
    )
    count = len(pixels.test_labels)
    size = min(count, self.eval_batch_size)

    def add(batch: jax.Array, sums: Sums) -> Sums:
      # The last batch goes back as far as it needs to be whole, and does not
      # count again what it meets there.
      start = jnp.minimum(batch * size, count - size)
      take = lambda x: jax.lax.dynamic_slice_in_dim(x, start, size)
      logits = model(self._inputs(take(pixels.test_images)), train=False)
      labels = take(pixels.test_labels)
      losses, correct = learning.score(logits, labels)
      fresh = start + jnp.arange(size) >= batch * size
      return Sums(
        sums.loss + jnp.sum(jnp.where(fresh, losses, 0.0)),
        sums.correct + jnp.sum(fresh & correct, dtype=jnp.int32),
      )

    return jax.lax.fori_loop(first, first + n, add, sums)
