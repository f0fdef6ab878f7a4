"""Single steps taken apart, where one task of a stream follows another.

A step is what an update adds to the parameters, Δw; the rate of an element is
-Δw / g, what its gradient is multiplied by before it is subtracted. It is below
0 where the element climbs. Everything is of a tensor as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import distributed
from experiments.training import mapping
from experiments.training import records
from experiments.training.feeds import Pixels
from experiments.training.stream_engine import StreamTrainer
from experiments.training.trials import Trial
from experiments.training.trials import Trials

# Of |g| / rms(g), by powers of two from 2⁻¹² to 2⁸; what is beyond counts as
# the first or the last.
FIRST, BINS = -12, 20
# What is measured of a tensor: numbers, and sums by the size of the gradient.
_NUMBERS = (
  *('size', 'gradient_rms', 'step_rms'),
  *('gradient_carriers', 'step_carriers', 'rate_spread'),
)
_BINNED = ('elements', 'gradient', 'descent')


class Observed(NamedTuple):
  """A step of all trials.

  Attributes:
    task: which task it belongs to, from 1.
    update: where it stands, counted from the start of the task that is looked
      at: below 0 it is of the task before.
    leaves: by the path of a tensor, what `take_apart` gave, on the host, with a
      leading axis of trials.
  """

  task: int
  update: int
  leaves: dict[str, dict[str, np.ndarray]]


def take_apart(gradient: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
  """What a step did to a tensor, from its gradient and Δw.

  Returns:
    By name, float32, a number but for the last three:
      size: how many elements the tensor has.
      gradient_rms, step_rms: √mean g² and √mean Δw².
      gradient_carriers, step_carriers: the share of the elements that carry
        them, (Σ|Δw|)² / (n ΣΔw²): 1 where all are as long, 1/n where one is
        alone.
      rate_spread: how unequal the rates are: their standard deviation over the
        size of their mean, both weighted by |g|. 0 where all are the same.
      elements: [BINS], how many elements have a gradient of each size. Those
        whose gradient is 0 are in none.
      gradient, descent: [BINS], the sums of |g| and -Δw·sign(g) over them.
  """
  signed, change = (x.astype(jnp.float32).ravel() for x in (gradient, step))
  g, u = jnp.abs(signed), jnp.abs(change)
  descent = -change * jnp.sign(signed)
  rms = _rms(g)
  size = jnp.floor(jnp.log2(_ratio(g, rms)))
  place = jnp.clip(size - FIRST, 0, BINS - 1).astype(jnp.int32)
  seen = (g > 0).astype(jnp.float32)
  summed = functools.partial(
    jax.ops.segment_sum, segment_ids=place, num_segments=BINS
  )
  return {
    'size': jnp.float32(g.size),
    'gradient_rms': rms,
    'step_rms': _rms(u),
    'gradient_carriers': _carriers(g),
    'step_carriers': _carriers(u),
    'rate_spread': _rate_spread(g, descent),
    'elements': summed(seen),
    'gradient': summed(g),
    'descent': summed(descent),
  }


def _rms(x: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.mean(jnp.square(x)))


def _ratio(x: jax.Array, y: jax.Array) -> jax.Array:
  """x / y; 0 where y is 0."""
  return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def _carriers(x: jax.Array) -> jax.Array:
  return _ratio(jnp.square(jnp.mean(x)), jnp.mean(jnp.square(x)))


def _rate_spread(g: jax.Array, descent: jax.Array) -> jax.Array:
  weights, rates = _ratio(g, jnp.sum(g)), _ratio(descent, g)
  mean = jnp.sum(weights * rates)
  deviation = jnp.sqrt(jnp.sum(weights * jnp.square(rates - mean)))
  return _ratio(deviation, jnp.abs(mean))


def observe(
  trainer: StreamTrainer,
  trials: Trials,
  pixels: Pixels,
  *,
  tasks: Sequence[int],
  before: int,
  after: int,
) -> Iterator[Observed]:
  """Trains an arm, and takes steps apart, in order.

  They are those around the start of some tasks, counted from 1 and ascending:
  so many before the first update, so many from it on, a task's at most.
  """
  count, updates = len(trials.seed), trainer.tasks.updates
  trials = mapping.shard(trials, count)
  state = jax.jit(trainer.init)(trials)
  train = jax.jit(trainer.update, donate_argnums=0)
  look = jax.jit(
    lambda state, trials, pixels: mapping.over_trials(
      functools.partial(_looked_at, trainer), trainer.lanes
    )(state, trials, pixels=pixels),
    donate_argnums=0,
  )
  at = 0
  for task in tasks:
    start = (task - 1) * updates
    while (left := start - before - at) > 0:
      # A call stays within a task.
      n = min(left, updates - at % updates)
      state = train(state, trials, pixels, jnp.int32(n))
      at += n
    for update in range(-before, after):
      state, leaves = look(state, trials, pixels)
      at += 1
      yield Observed(task, update, distributed.fetch(leaves))


def _looked_at(
  trainer: StreamTrainer, state: Any, trial: Trial, *, pixels: Pixels
) -> tuple[Any, dict[str, dict[str, jax.Array]]]:
  """An update of a trial, and what its step did to each tensor."""
  plan = trainer.feed.plan(trial, pixels, state.step)
  batch, _ = trainer.feed.batch(plan, trial, pixels, state.step)
  learned = trainer.step(state, batch, trial=trial)
  gradient = jax.grad(learned.loss_fn)(state.params)
  step = jax.tree.map(jnp.subtract, learned.state.params, state.params)
  pairs = zip(
    jax.tree.leaves_with_path(gradient), jax.tree.leaves(step), strict=True
  )
  return learned.state, {
    records.leaf_name(path): take_apart(g, u) for (path, g), u in pairs
  }


def step_rows(
  arm: str, observed: Iterable[Observed]
) -> Iterator[dict[str, Any]]:
  """A row for every step and tensor: means over the trials."""
  for task, update, leaves in observed:
    for leaf, step in leaves.items():
      means = {name: float(step[name].mean()) for name in _NUMBERS}
      place = {'arm': arm, 'task': task, 'update': update, 'leaf': leaf}
      yield {**place, **means, 'size': int(means['size'])}


def rate_rows(
  arm: str, observed: Iterable[Observed]
) -> Iterator[dict[str, Any]]:
  """A row for every tensor and size of gradient, over all steps and trials.

  `rate` is -Σ Δw·sign(g) / Σ|g| over the elements whose |g| / rms(g) is from
  `size` to twice that, `elements` their share among all with a gradient.
  """
  sums: dict[str, np.ndarray] = {}
  for _, _, leaves in observed:
    for leaf, step in leaves.items():
      found = np.stack([step[name] for name in _BINNED])
      total = np.sum(np.asarray(found, float), axis=1)
      sums[leaf] = sums.get(leaf, 0.0) + total
  for leaf, (elements, gradient, descent) in sums.items():
    for i in np.flatnonzero(elements).tolist():
      yield {
        'arm': arm,
        'leaf': leaf,
        'size': 2.0 ** (FIRST + i),
        'elements': float(elements[i] / elements.sum()),
        'rate': float(descent[i] / gradient[i]),
      }
