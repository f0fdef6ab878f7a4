"""Single steps taken apart, where one task of a stream follows another.

A step is what an update adds to the parameters, Δw; the rate of an element is
-Δw / g, what its gradient is multiplied by before it is subtracted. It is below
0 where the element climbs. Everything is of a tensor as a whole.
"""

from collections.abc import Iterable, Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import diagnostics
from experiments.training import distributed
from experiments.training import mapping
from experiments.training.feeds import Pixels
from experiments.training.stream_engine import StreamTrainer
from experiments.training.trials import Trial
from experiments.training.trials import Trials

# Of |g| / rms(g), by powers of two from 2⁻¹² to 2⁸; what is beyond counts as
# the first or the last.
FIRST, BINS = -12, 20


class Step(NamedTuple):
  """What one step did to a tensor; all float32.

  Attributes:
    size: [], how many elements the tensor has.
    elements: [BINS], how many elements have a gradient of each size. Those
      whose gradient is 0 are in none.
    gradient: [BINS], the sum of |g| over them.
    descent: [BINS], the sum of -Δw·sign(g) over them.
    gradient_rms: [], √mean g².
    step_rms: [], √mean Δw².
    carriers: [], the share of the elements that carry the step:
      (Σ|Δw|)² / (n ΣΔw²), 1 where all are as long, 1/n where one is alone.
    gradient_carriers: [], the same of the gradient.
    rate_spread: [], how unequal the rates are: their standard deviation over
      the size of their mean, both weighted by |g|. 0 where all elements have
      the same.
  """

  size: jax.Array
  elements: jax.Array
  gradient: jax.Array
  descent: jax.Array
  gradient_rms: jax.Array
  step_rms: jax.Array
  carriers: jax.Array
  gradient_carriers: jax.Array
  rate_spread: jax.Array


def take_apart(gradient: jax.Array, step: jax.Array) -> Step:
  """What a step did to a tensor, from its gradient and Δw."""
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
  return Step(
    size=jnp.float32(g.size),
    elements=summed(seen),
    gradient=summed(g),
    descent=summed(descent),
    gradient_rms=rms,
    step_rms=_rms(u),
    carriers=_carriers(u),
    gradient_carriers=_carriers(g),
    rate_spread=_rate_spread(g, descent),
  )


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


class Observed(NamedTuple):
  """A step of all trials.

  Attributes:
    task: which task it belongs to, from 0.
    update: where it stands, counted from the start of the task that the window
      is around: below 0 it is of the task before.
    leaves: by the path of a tensor, what the step did to it, on the host, with
      a leading axis of trials.
  """

  task: int
  update: int
  leaves: dict[str, Step]


class Windows(NamedTuple):
  """The updates that are looked at: around the start of some tasks.

  Attributes:
    tasks: which, from 0, in order.
    before: how many updates before the first of the task.
    after: how many from it on; with `before` at most a task's.
    updates: of a task.
  """

  tasks: tuple[int, ...]
  before: int
  after: int
  updates: int


def observe(
  trainer: StreamTrainer, trials: Trials, pixels: Pixels, windows: Windows
) -> Iterator[Observed]:
  """Trains, and takes the steps apart that are in a window.

  Args:
    trainer: of an arm.
    trials: its trials.
    pixels: the data.
    windows: what is looked at.

  Yields:
    Each of these steps, in order.
  """
  count = len(trials.seed)
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
  for task in windows.tasks:
    start = task * windows.updates
    while (left := start - windows.before - at) > 0:
      # A call stays within a task.
      n = min(left, windows.updates - at % windows.updates)
      state = train(state, trials, pixels, jnp.int32(n))
      at += n
    for update in range(-windows.before, windows.after):
      state, leaves = look(state, trials, pixels)
      at += 1
      yield Observed(task, update, distributed.fetch(leaves))


def _looked_at(
  trainer: StreamTrainer, state: Any, trial: Trial, *, pixels: Pixels
) -> tuple[Any, dict[str, Step]]:
  """An update of a trial, and what its step did to each tensor."""
  plan = trainer.feed.plan(trial, pixels, state.step)
  batch, _ = trainer.feed.batch(plan, trial, pixels, state.step)
  learned = trainer.step(state, batch, trial=trial)
  gradient = jax.grad(learned.loss_fn)(state.params)
  step = jax.tree.map(jnp.subtract, learned.state.params, state.params)
  apart = jax.tree.map(take_apart, gradient, step)
  leaves = jax.tree_util.tree_leaves_with_path(
    apart, is_leaf=lambda x: isinstance(x, Step)
  )
  return learned.state, {
    diagnostics.leaf_name(path): leaf for path, leaf in leaves
  }


def step_rows(
  arm: str, observed: Iterable[Observed]
) -> Iterator[dict[str, Any]]:
  """A row for every step and tensor: means over the trials."""
  for each in observed:
    for leaf, step in each.leaves.items():
      yield {
        'arm': arm,
        'task': each.task + 1,
        'update': each.update,
        'leaf': leaf,
        'size': int(_mean(step.size)),
        'gradient_rms': _mean(step.gradient_rms),
        'step_rms': _mean(step.step_rms),
        'gradient_carriers': _mean(step.gradient_carriers),
        'step_carriers': _mean(step.carriers),
        'rate_spread': _mean(step.rate_spread),
      }


def rate_rows(
  arm: str, observed: Iterable[Observed]
) -> Iterator[dict[str, Any]]:
  """A row for every tensor and size of gradient, over all steps and trials.

  `rate` is -Σ Δw·sign(g) / Σ|g| over the elements whose |g| / rms(g) is from
  `size` to twice that, `elements` their share among all with a gradient.
  """
  sums: dict[str, np.ndarray] = {}
  for each in observed:
    for leaf, step in each.leaves.items():
      found = np.stack([step.elements, step.gradient, step.descent])
      total = np.sum(np.asarray(found, float), axis=1)
      sums[leaf] = sums.get(leaf, 0.0) + total
  for leaf, (elements, gradient, descent) in sums.items():
    for i in range(BINS):
      if elements[i]:
        yield {
          'arm': arm,
          'leaf': leaf,
          'size': 2.0 ** (FIRST + i),
          'elements': float(elements[i] / elements.sum()),
          'rate': float(descent[i] / gradient[i]),
        }


def _mean(values: Any) -> float:
  return float(np.mean(values))
