"""The engine of streams: an epoch is a task, and what it does is measured.

Training is that of `engine.Trainer`, and so are its programs; what is added
are a feed, and readings that are taken on the device while it learns.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import distributed
from experiments.training import engine
from experiments.training import keys
from experiments.training import learning
from experiments.training import stream_measures
from experiments.training.feeds import Batch
from experiments.training.feeds import Feed
from experiments.training.feeds import Pixels
from experiments.training.learning import Place
from experiments.training.learning import TrainState
from experiments.training.records import leaf_name
from experiments.training.stream_measures import ONLINE_ACCURACY
from experiments.training.stream_measures import ONLINE_LOSS
from experiments.training.tasks import Tasks
from experiments.training.trials import Trial
from experiments.training.trials import Trials
from neuroplastic_optax import mechanisms

# Updates from one reading of plasticity to the next, at most.
_PLASTICITY_EVERY = 25
# The same of the test images of a split.
_EVALUATE_EVERY = 10
# Images of a task that its end is measured on.
_SAMPLE = 1000

AT_END = ('dead_units', 'effective_rank', 'weight_norm')
# Of the share of inactive weights; the name of a leaf follows.
INACTIVE = 'inactive_'


class Readings(NamedTuple):
  """What is measured of the task under way, besides the batches.

  Attributes:
    plasticity: the sum of its readings so far, float32 [].
    evaluations: int32 [evaluations, tasks], how many test images of each task
      were classified correctly; None without a split.
    at_end: by name, what is measured at the end of a task, float32 [].
  """

  plasticity: jax.Array
  evaluations: jax.Array | None
  at_end: dict[str, jax.Array]


def evaluated_after(updates: int) -> list[int]:
  """After how many updates of a task a split is evaluated, also at its end."""
  return [*range(_EVALUATE_EVERY, updates, _EVALUATE_EVERY), updates]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamTrainer(engine.Trainer):
  """Trains the trials of one arm on a stream.

  Every batch is scored before it is learned, at the parameters that are to be
  evaluated. If the model does in training what it does in evaluation, and the
  arm is evaluated at what it trains, this costs nothing.

  Attributes:
    tasks: the stream.
    restart: whether every task begins with a new network and a new state of the
      optimizer.
    measure: whether more is measured than the loss and accuracy of batches;
      what is not, stays 0.
    inactive: whether the share of inactive weights of each leaf is among it,
      which the optimizer's state then holds.
  """

  tasks: Tasks
  restart: bool = False
  measure: bool = True
  inactive: bool = False

  @property
  def metrics(self) -> tuple[str, ...]:
    """See the base class."""
    first = (ONLINE_LOSS, ONLINE_ACCURACY, 'plasticity')
    return (*first, *AT_END, *self._shares, 'train_seconds')

  @functools.cached_property
  def _shares(self) -> tuple[str, ...]:
    """The names of the shares of inactive weights."""
    if not self.inactive:
      return ()
    model = nnx.eval_shape(lambda: self._model(jax.random.key(0)))
    leaves = jax.tree.leaves_with_path(nnx.state(model, nnx.Param))
    return tuple(INACTIVE + leaf_name(path) for path, _ in leaves)

  @functools.cached_property
  def feed(self) -> Feed:
    """See the base class."""
    return self.tasks

  @property
  def plasticity_every(self) -> int:
    """Updates from one reading of plasticity to the next."""
    return min(_PLASTICITY_EVERY, self.tasks.updates)

  def batches(self, pixels: Pixels) -> int:
    """None: what is evaluated of a stream is evaluated while it learns."""
    return 0

  def init_one(self, trial: Trial) -> TrainState:
    """See the base class."""
    return super().init_one(trial)._replace(readings=self._no_readings())

  def measured(self, state: TrainState, trials: Trials) -> dict[str, Any]:
    """See the base class; of a split also `evaluations`."""
    sums = learning.Sums(state.loss, state.correct)
    found = learning.means(sums, self.feed.examples(trials))
    readings = distributed.fetch(state.readings)
    times = self.tasks.updates // self.plasticity_every
    measured = {
      ONLINE_LOSS: found.loss,
      ONLINE_ACCURACY: found.accuracy,
      'plasticity': np.asarray(readings.plasticity, float) / times,
      **readings.at_end,
    }
    if self.tasks.evaluated:
      hits = np.asarray(readings.evaluations, float)
      measured['evaluations'] = hits / self.tasks.evaluated
    return measured

  def _no_readings(self) -> Readings:
    shape = len(evaluated_after(self.tasks.updates)), self.tasks.count
    return Readings(
      jnp.zeros([], jnp.float32),
      jnp.zeros(shape, jnp.int32) if self.tasks.evaluated else None,
      {name: jnp.zeros([], jnp.float32) for name in (*AT_END, *self._shares)},
    )

  def _begun(
    self, state: TrainState, trial: Trial, first: jax.Array
  ) -> TrainState:
    state = super()._begun(state, trial, first)
    task, step = first // self.tasks.updates, first % self.tasks.updates
    readings = jax.tree.map(
      lambda new, old: jnp.where(step == 0, new, old),
      self._no_readings(),
      state.readings,
    )
    state = state._replace(readings=readings)
    if not self.restart:
      return state
    key = jax.random.fold_in(keys.key(trial.seed, keys.INIT), task)
    params, batch_stats, opt_state = jax.lax.cond(
      (step == 0) & (task > 0),
      lambda: self.network(key, trial),
      lambda: (state.params, state.batch_stats, state.opt_state),
    )
    return state._replace(
      params=params, batch_stats=batch_stats, opt_state=opt_state
    )

  def _advanced(
    self, state: TrainState, batch: Batch, place: Place, *, diagnose: bool
  ) -> TrainState:
    learned = self.step(state, batch, trial=place.trial, diagnose=diagnose)
    new, readings = learned.state, state.readings
    if self._scored_apart:
      loss, correct = self._scored(state, batch)
      new = new._replace(loss=loss, correct=correct)
    if not self.measure:
      return new
    step = place.at % self.tasks.updates
    plasticity = jax.lax.cond(
      (step + 1) % self.plasticity_every == 0,
      lambda: stream_measures.plasticity(
        learned.loss, learned.loss_fn(learned.state.params)
      ),
      lambda: jnp.zeros([], jnp.float32),
    )
    readings = readings._replace(plasticity=readings.plasticity + plasticity)
    if self.tasks.evaluated:
      due = (step + 1) % _EVALUATE_EVERY == 0
      due |= step + 1 == self.tasks.updates
      evaluations = jax.lax.cond(
        due,
        lambda: readings.evaluations.at[step // _EVALUATE_EVERY].set(
          self._evaluated(new, place)
        ),
        lambda: readings.evaluations,
      )
      readings = readings._replace(evaluations=evaluations)
    return new._replace(readings=readings)

  def _ended(self, state: TrainState, place: Place) -> TrainState:
    if not self.measure:
      return state
    trial, pixels, plan, at = place
    batch = self.tasks.sample(plan, _SAMPLE, trial, pixels, at)
    params = self._evaluated_params(state)
    model: Any = nnx.merge(self._graphdef, params, state.batch_stats, copy=True)
    features = model.features(self._inputs(batch.images))
    at_end = {
      'dead_units': stream_measures.dead_units(features),
      'effective_rank': stream_measures.effective_rank(features[-1]),
      'weight_norm': stream_measures.weight_norm(params),
    }
    if self.inactive:
      shares = mechanisms.inactive_fraction(state.opt_state)
      at_end |= zip(self._shares, jax.tree.leaves(shares), strict=True)
    return state._replace(readings=state.readings._replace(at_end=at_end))

  @functools.cached_property
  def _scored_apart(self) -> bool:
    """Whether the pass that makes the gradient is none that scores."""
    model = nnx.eval_shape(lambda: self._model(jax.random.key(0)))
    differs = any(
      isinstance(part, nnx.Dropout | nnx.BatchNorm)
      for _, part in nnx.iter_modules(model)
    )
    return differs or self.eval_params is not None

  def _evaluated_params(self, state: TrainState) -> Any:
    if self.eval_params is None:
      return state.params
    return self.eval_params(state.opt_state, state.params)

  def _logits(self, state: TrainState, batch: Batch) -> jax.Array:
    params = self._evaluated_params(state)
    model: Any = nnx.merge(self._graphdef, params, state.batch_stats, copy=True)
    logits = model(self._inputs(batch.images), train=False)
    return learning.answers(logits, batch.allowed)

  def _scored(
    self, state: TrainState, batch: Batch
  ) -> tuple[jax.Array, jax.Array]:
    """The sums of the task, with those of a batch that is to be learned."""
    logits = self._logits(state, batch)
    losses, correct = learning.score(logits, batch.labels)
    return state.loss + jnp.sum(losses), state.correct + jnp.sum(correct)

  def _evaluated(self, state: TrainState, place: Place) -> jax.Array:
    """How many test images of each task are classified right, int32 [tasks]."""
    batch = self.tasks.test(place.plan, place.trial, place.pixels)
    correct = jnp.argmax(self._logits(state, batch), -1) == batch.labels
    return jnp.sum(
      correct.reshape(self.tasks.count, -1), axis=-1, dtype=jnp.int32
    )
