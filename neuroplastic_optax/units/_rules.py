"""Rules: which units are recycled, and how much of them."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _layers
from neuroplastic_optax import _numbers
from neuroplastic_optax._numbers import number
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.units._rule import Rule
from neuroplastic_optax.units._rule import Seen
from neuroplastic_optax.units._rule import when_any


@dataclasses.dataclass(frozen=True)
class Redo(Rule):
  """Recycles units that are dormant: hardly active beside the others (ReDo).

      s_j = E|h_j| / (mean_k E|h_k| + 1e-9)
      r_j = 1 where s_j ≤ threshold

  The authors' program keeps the moments of biases, which `recycle` resets; its
  fresh weights are `jax.nn.initializers.xavier_uniform()`, to be passed to
  `recycle` as `init`; and its own defaults are a threshold of 0 and a period of
  200,000. The paper has .025 or .1, and 1000.

  Source: Sokar et al., [2302.12902](https://arxiv.org/abs/2302.12902), 2023.

  Attributes:
    threshold: ≥ 0, a number or a schedule.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import units
    >>> params = {'a': jnp.ones((1, 2)), 'b': jnp.ones((2, 1))}
    >>> layers = units.chain(params, ['a', 'b'])
    >>> tx = units.recycle(optax.sgd(0.1), layers, units.Redo(), every=1)
    >>> h = {'a': jnp.array([[0.0, 1.0]])}
    >>> state = tx.init(params)
    >>> updates, _ = tx.update(params, state, params, activations=h)
    >>> print(updates['b'][:, 0])  # The first unit is cut off.
    [-1.  -0.1]
  """

  every: ClassVar[int] = 1000
  uses_activations: ClassVar[bool] = True

  threshold: Any = number(default=0.025, low=0.0)

  def choose(self, state: Any, seen: Seen) -> tuple[jax.Array, Any]:
    """1 for dormant units."""
    sizes = seen.batch_mean(jnp.abs(seen.activations))
    score = relative(sizes, 1e-9)
    return (score <= self.threshold).astype(score.dtype), state


@dataclasses.dataclass(frozen=True)
class GradientMagnitude(Rule):
  """Recycles units whose incoming weights get small gradients (ReGraMa).

      s_j = mean|G[:, j]| / (mean_k mean|G[:, k]| + 1e-8)
      r_j = 1 where s_j ≤ threshold

  Where all gradients are 0, none is recycled; this guard is ours. The constant
  is not relative to the gradients: far below 1e-8 all units are recycled. Read
  in a port of the authors' program.

  Source: ReGraMa, [2505.24061](https://arxiv.org/abs/2505.24061), 2025.

  Attributes:
    threshold: ≥ 0, a number or a schedule.

  Examples:
    >>> from neuroplastic_optax import units
    >>> rule = units.GradientMagnitude(threshold=0.05)
  """

  every: ClassVar[int] = 1000

  threshold: Any = number(default=0.01, low=0.0)

  def choose(self, state: Any, seen: Seen) -> tuple[jax.Array, Any]:
    """1 for units with small gradients."""
    return self.small(seen.gradients).astype(jnp.float32), state

  def small(self, gradients: jax.Array) -> jax.Array:
    """Which units have small gradients [fan-in, H], bools [H]."""
    score = gradient_score(gradients)
    return (score <= self.threshold) & jnp.any(gradients != 0)


class ContinualBackpropState(NamedTuple):
  """The state of `ContinualBackprop` for one layer of H units.

  Attributes:
    age: updates since each unit was recycled, int32 [H].
    mean: f, the average of the activations, float32 [H].
    utility: util, float32 [H].
    due: acc, the number of units to be recycled, a float32 scalar.
  """

  age: jax.Array
  mean: jax.Array
  utility: jax.Array
  due: jax.Array


@dataclasses.dataclass(frozen=True)
class ContinualBackprop(Rule):
  """Recycles the least useful of the mature units, at a low rate.

      age ← age + 1
      f ← η·f + (1 - η)·E h                 f̂ = f / (1 - η^age)
      util ← η·util + (1 - η)·y             û = util / (1 - η^age)
      y_j = mean|K_out[j]|·E|h_j|                              "contribution"
      y_j = mean|K_out[j]|·E|h_j - f̂_j| / (mean|K_in[:, j]| + 1e-8)
                                                     "adaptable_contribution"
      acc ← acc + replacement_rate·#eligible      eligible: age > maturity

  When it is time, r = 1 for the ⌊acc⌋ eligible units with the lowest û (of
  equals, those that come first), or all if fewer are eligible; acc falls by
  their number, and their util, f and age return to 0.

  The paper moves the mean contribution of a removed unit to the next bias. In
  the authors' program that has no effect, since the mean is zeroed before it is
  read; ours leaves it out. Their experiments use "adaptable_contribution".
  Without `accumulate` their program draws where acc < 1. Its fresh weights are
  U(±gain·√(3 / fan_in)): `jax.nn.initializers.he_uniform()` for ReLU.

  Source: Dohare et al., [2306.13812](https://arxiv.org/abs/2306.13812), 2024.

  Attributes:
    replacement_rate: which part of the eligible units an update recycles, in
      [0, 1], a number or a schedule.
    maturity: ≥ 0, how many updates a unit is left alone, a number or a
      schedule.
    decay: η in [0, 1).
    utility: "contribution" or "adaptable_contribution".

  Examples:
    >>> from neuroplastic_optax import units
    >>> rule = units.ContinualBackprop(1e-4, maturity=100)
  """

  uses_activations: ClassVar[bool] = True

  replacement_rate: Any = number(default=1e-4, low=0.0, high=1.0)
  maturity: Any = number(default=100, low=0.0)
  decay: Any = number(
    default=0.99, low=0.0, high=1.0, high_open=True, schedule=False
  )
  utility: Literal['contribution', 'adaptable_contribution'] = 'contribution'

  def __post_init__(self) -> None:
    super().__post_init__()
    _numbers.check_choice(
      'ContinualBackprop.utility',
      self.utility,
      ('contribution', 'adaptable_contribution'),
    )

  def init(self, layer: _layers.Layer, size: int) -> ContinualBackpropState:
    """All units are new."""
    del layer
    return ContinualBackpropState(
      jnp.zeros(size, jnp.int32),
      jnp.zeros(size, jnp.float32),
      jnp.zeros(size, jnp.float32),
      jnp.zeros([], jnp.float32),
    )

  def observe(
    self, state: ContinualBackpropState, seen: Seen
  ) -> ContinualBackpropState:
    """Averages activations and utilities."""
    h, decay = seen.activations, self.decay
    age = jnp.minimum(state.age, jnp.iinfo(jnp.int32).max - 1) + 1
    mean = decay * state.mean + (1 - decay) * seen.batch_mean(h)
    size = _leaves.mean(jnp.abs(seen.outgoing), (0, 2))
    if self.utility == 'contribution':
      now = _leaves.product(size, seen.batch_mean(jnp.abs(h)))
    else:
      usual = _leaves.finite(mean / _leaves.bias(decay, age, mean.dtype))
      moved = seen.batch_mean(jnp.abs(_leaves.finite(h - usual)))
      cost = _leaves.mean(jnp.abs(seen.incoming), (0,)) + 1e-8
      now = _leaves.finite(_leaves.product(size, moved) / cost)
    utility = decay * state.utility + (1 - decay) * now
    eligible = jnp.sum(self._is_mature(age)).astype(jnp.float32)
    due = state.due + self.replacement_rate * eligible
    return ContinualBackpropState(age, mean, utility, due)

  def choose(
    self, state: ContinualBackpropState, seen: Seen
  ) -> tuple[jax.Array, ContinualBackpropState]:
    """1 for the least useful mature units."""
    del seen

    def rank() -> tuple[jax.Array, jax.Array]:
      bias = _leaves.bias(self.decay, state.age, state.utility.dtype)
      utility = _leaves.finite(state.utility / jnp.maximum(bias, _TINY))
      return utility, self._is_mature(state.age)

    chosen, due = _lowest(state.due, rank, len(state.age))
    spared = lambda x: jnp.where(chosen, jnp.zeros_like(x), x)
    return chosen.astype(jnp.float32), ContinualBackpropState(
      spared(state.age), spared(state.mean), spared(state.utility), due
    )

  def _is_mature(self, age: jax.Array) -> jax.Array:
    return age.astype(jnp.float32) > self.maturity


@dataclasses.dataclass(frozen=True)
class RandomUnits(Rule):
  """Recycles units at random: the control of all other rules.

  As `ContinualBackprop` with a random utility; all units are eligible:
  acc ← acc + rate·H, and r = 1 for ⌊acc⌋ units.

  Attributes:
    rate: which part of the units an update recycles, in [0, 1], a number or a
      schedule.

  Examples:
    >>> from neuroplastic_optax import units
    >>> rule = units.RandomUnits(1e-3)
  """

  rate: Any = number(default=1e-4, low=0.0, high=1.0)

  def init(self, layer: _layers.Layer, size: int) -> jax.Array:
    """acc, the number of units to be recycled, a float32 scalar."""
    del layer, size
    return jnp.zeros([], jnp.float32)

  def observe(self, state: jax.Array, seen: Seen) -> jax.Array:
    """Counts what is due."""
    return state + self.rate * seen.incoming.shape[-1]

  def choose(self, state: jax.Array, seen: Seen) -> tuple[jax.Array, jax.Array]:
    """1 for random units."""
    size = seen.incoming.shape[-1]

    def rank() -> tuple[jax.Array, jax.Array]:
      utility = jax.random.uniform(seen.key, (size,), jnp.float32)
      return utility, jnp.ones(size, jnp.bool_)

    chosen, due = _lowest(state, rank, size)
    return chosen.astype(jnp.float32), due


class SelfNormalizedState(NamedTuple):
  """The state of `SelfNormalized` for one layer of H units.

  Attributes:
    age: updates since each unit fired, int32 [H].
    counts: hist, how often each unit was silent for how long, int32
      [H, max_age + 1].
    threshold: τ, the age at which it is recycled, int32 [H].
  """

  age: jax.Array
  counts: jax.Array
  threshold: jax.Array


@dataclasses.dataclass(frozen=True)
class SelfNormalized(Rule):
  """Recycles units that are silent for longer than they used to be (SNR).

      no example fires (h ≤ 0):  age_j ← age_j + 1
      else:                      hist[j, min(age_j, max_age)] += 1, age_j ← 0
      r_j = 1 where age_j ≥ τ_j; that age is counted too, and returns to 0

  τ begins at `initial_age`. After every `adapt_every`-th update, with i_j the
  first n ≥ 1 at which the distribution of hist[j, 1:] reaches `percentile`,
  τ_j becomes i_j if that is below it, else 2·τ_j, held in [1, max_age], and
  hist returns to 0. Where hist[j, 1:] is empty, τ_j stays; the authors'
  program, dividing 0 by 0, gives it the least.

  Ages are in updates, those of the authors in examples: multiply by the batch.
  A port has percentile .9, factor 2, and a τ of at most 20,000 examples. The
  histogram takes 4·(max_age + 1) bytes a unit.

  Source: Farias and Jozefiak, [2410.20098](https://arxiv.org/abs/2410.20098),
  2024.

  Attributes:
    percentile: in [0, 1], a number or a schedule.
    max_age: the largest τ, an integer ≥ 1.
    initial_age: the first τ, an integer in [1, max_age].
    adapt_every: an integer ≥ 1.

  Examples:
    >>> from neuroplastic_optax import units
    >>> rule = units.SelfNormalized(max_age=1000)
  """

  uses_activations: ClassVar[bool] = True

  percentile: Any = number(default=0.9, low=0.0, high=1.0)
  max_age: int = 4000
  initial_age: int = 100
  adapt_every: int = 1000

  def __post_init__(self) -> None:
    super().__post_init__()
    for name in ('max_age', 'initial_age', 'adapt_every'):
      _numbers.check_integer(f'SelfNormalized.{name}', getattr(self, name))
    _numbers.check_order(
      'SelfNormalized.initial_age',
      self.initial_age,
      'SelfNormalized.max_age',
      self.max_age,
    )

  def init(self, layer: _layers.Layer, size: int) -> SelfNormalizedState:
    """No unit has been silent."""
    del layer
    return SelfNormalizedState(
      jnp.zeros(size, jnp.int32),
      jnp.zeros((size, self.max_age + 1), jnp.int32),
      jnp.full(size, self.initial_age, jnp.int32),
    )

  def observe(
    self, state: SelfNormalizedState, seen: Seen
  ) -> SelfNormalizedState:
    """Counts how long units are silent."""
    # What is to be done after the choice of an update is done before the next.
    is_time = (seen.count > 0) & (seen.count % self.adapt_every == 0)
    state = when_any(is_time, lambda: self._adapted(state), state)
    return self._ended(
      state._replace(age=state.age + 1), seen.batch_any(seen.activations > 0), 1
    )

  def choose(
    self, state: SelfNormalizedState, seen: Seen
  ) -> tuple[jax.Array, SelfNormalizedState]:
    """1 for units that are silent for too long."""
    del seen
    silent = state.age >= state.threshold
    return silent.astype(jnp.float32), self._ended(state, silent, 0)

  def _ended(
    self, state: SelfNormalizedState, ends: jax.Array, early: int
  ) -> SelfNormalizedState:
    """Counts the ages that end, of which `early` updates are not of silence."""
    rows = jnp.arange(len(ends))
    at = jnp.minimum(state.age - early, self.max_age)
    counts = state.counts.at[rows, at].add(ends.astype(jnp.int32))
    return SelfNormalizedState(
      jnp.where(ends, 0, state.age), counts, state.threshold
    )

  def _adapted(self, state: SelfNormalizedState) -> SelfNormalizedState:
    summed = jnp.cumsum(state.counts[:, 1:], axis=1).astype(jnp.float32)
    total = summed[:, -1:]
    # A quotient of integers rounds as the percentile does where both are equal.
    reached = summed / jnp.maximum(total, 1.0) >= self.percentile
    first = jnp.argmax(reached, axis=1).astype(jnp.int32) + 1
    old = state.threshold
    new = jnp.clip(jnp.where(first < old, first, 2 * old), 1, self.max_age)
    new = jnp.where(total[:, 0] > 0, new, old)
    return SelfNormalizedState(state.age, jnp.zeros_like(state.counts), new)


@dataclasses.dataclass(frozen=True)
class CalibratedPartial(Rule):
  """Recycles a small share of all units, more of those that learn less (CPR).

      util ← decay·util + (1 - decay)·s         s as in `GradientMagnitude`
      r_j = rate·min(2σ(-sharpness·(util_j - 1)), 1)

  when it is time; util then returns to 1, where it began. Vectors and moments
  are left alone. Read in its authors' program (2026).

  Attributes:
    rate: the largest share, in [0, 1], a number or a schedule.
    sharpness: ≥ 0, a number or a schedule.
    decay: in [0, 1).

  Examples:
    >>> from neuroplastic_optax import units
    >>> rule = units.CalibratedPartial(rate=0.01)
  """

  every: ClassVar[int] = 1000
  keeps_vectors: ClassVar[bool] = True
  keeps_moments: ClassVar[bool] = True

  rate: Any = number(default=0.015, low=0.0, high=1.0)
  sharpness: Any = number(default=16.0, low=0.0)
  decay: Any = number(
    default=0.99, low=0.0, high=1.0, high_open=True, schedule=False
  )

  def init(self, layer: _layers.Layer, size: int) -> jax.Array:
    """util, float32 [H]."""
    del layer
    return jnp.ones(size, jnp.float32)

  def observe(self, state: jax.Array, seen: Seen) -> jax.Array:
    """Averages the scores."""
    score = gradient_score(seen.gradients)
    return self.decay * state + (1 - self.decay) * score

  def choose(self, state: jax.Array, seen: Seen) -> tuple[jax.Array, jax.Array]:
    """More of units with low utility."""
    del seen
    low = 2 * jax.nn.sigmoid(-self.sharpness * (state - 1))
    return self.rate * jnp.minimum(low, 1.0), jnp.ones_like(state)


_TINY = 1e-30


def relative(sizes: jax.Array, eps: float) -> jax.Array:
  """Sizes of units by their mean, plus ε."""
  return sizes / (_leaves.mean(sizes, (0,)) + eps)


def gradient_score(gradients: jax.Array) -> jax.Array:
  """s of `GradientMagnitude`, [H]."""
  return relative(_leaves.mean(jnp.abs(gradients), (0,)), 1e-8)


def _lowest(
  due: jax.Array, rank: Any, size: int
) -> tuple[jax.Array, jax.Array]:
  """The ⌊due⌋ eligible units of lowest utility, bools [H], and what is left.

  `rank()` returns the utilities and which units are eligible.
  """

  def pick() -> tuple[jax.Array, jax.Array]:
    utility, eligible = rank()
    n = jnp.minimum(jnp.floor(due), jnp.sum(eligible).astype(due.dtype))
    order = jnp.argsort(jnp.where(eligible, utility, jnp.inf))
    first = jnp.arange(size).astype(due.dtype) < n
    return jnp.zeros(size, jnp.bool_).at[order].set(first), due - n

  return when_any(due >= 1, pick, (jnp.zeros(size, jnp.bool_), due))
