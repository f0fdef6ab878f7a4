"""One leaf's update: the steps in their order, and all casts.

    signals → α → modulation → decay → homeostasis → controller

`remember` updates the moments. The controller needs every leaf of a group
before it can multiply one, so that two functions do the rest: `propose` up to
the controller, `finish` from there. The equations are as published (Jiang et
al., arXiv:2604.26297), with the mean over the tensor:

    a ← ρ·a + (1 - ρ)·|g|
    m ← β₁·m + (1 - β₁)·g
    v ← β₂·v + (1 - β₂)·|g|²

    ν(x)   = x / (mean(x) + ε)
    α_grad = clip(ν(|g|), α_min, α_max)
    α_full = clip(w_a·ν(a) + w_g·ν(|g|) + w_m·ν(|m| / (√v + ε)), α_min, α_max)
    α      = α_grad + κ·(α_full - α_grad)

The signals use the new moments, none of which is bias-corrected. For κ > 1, α
goes beyond α_full; it is not clipped again.
"""

from collections.abc import Callable, Hashable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _stages
from neuroplastic_optax import _statistics
from neuroplastic_optax import _trees
from neuroplastic_optax import modulations


class Moments(NamedTuple):
  """The moments of one tensor, by the names of the state's fields."""

  activity: Any  # a, an average of |g|: real, as g in shape
  memory_mu: Any  # m, an average of g: as g in shape, complex where g is
  memory_nu: Any  # v, an average of |g|²: real, as g in shape


class Plan(NamedTuple):
  """What is done to one leaf; static, but for `target_rms_scale`."""

  modulate: bool  # Whether it is in the modulation's scope.
  decay: bool
  group: Hashable  # Its group for the controller; None outside the scope.
  target_rms_scale: Any  # c, of homeostasis.
  stacked_axes: int
  axis_name: tuple[str, ...] | None


class Inputs(NamedTuple):
  """One leaf, in its own dtypes; None for what is not needed.

  The moments are those before this update; for `propose`, those after it.
  """

  gradient: Any
  base_update: Any
  parameter: Any
  momentum: Any
  moments: Moments | None  # None in gradient-only mode.


class Proposal(NamedTuple):
  """One leaf's update before the controller multiplies it."""

  update: Any  # At least float32.
  log_ratio: jax.Array | None  # ℓ, which the controller averages.
  measured: _statistics.Statistics | None  # With diagnostics.


class Stages(NamedTuple):
  """How every leaf is updated, but for the controller."""

  numbers: _numbers.Numbers
  modulation: modulations.Modulation
  homeostasis: _stages.Homeostasis | None
  parameterwise: bool

  @property
  def decays(self) -> bool:
    """Whether there is a coupled decay; not if it is known to be 0."""
    return not _numbers.is_zero(self.numbers.weight_decay)

  def at(self, count: jax.Array) -> 'Stages':
    """These stages at update `count`, with the values of their schedules."""
    return self._map(lambda stage: stage.at(count))

  def cast(self, dtype: Any) -> 'Stages':
    """These stages with numbers ready for arithmetic in `dtype`."""
    return self._map(lambda stage: stage.cast(dtype))

  def _map(self, function: Callable[[Any], Any]) -> 'Stages':
    return Stages(
      function(self.numbers),
      function(self.modulation),
      None if self.homeostasis is None else function(self.homeostasis),
      self.parameterwise,
    )


# The moments.


def zero_moments(
  leaf: Any, state_dtype: Any, numbers: _numbers.Numbers
) -> Moments:
  """The moments of one leaf before the first update, placed as it is.

  A step of ρ·a + (1-ρ)·x changes a by at most (1-ρ)·a on its way down. Where
  that is less than the spacing of the numbers of `state_dtype`, a would never
  fall, and is kept in float32.
  """

  def zeros(decay: Any, *, real: bool) -> Any:
    if leaf is None:
      return None
    dtype = jnp.result_type(leaf)
    is_complex = not real and jnp.issubdtype(dtype, jnp.complexfloating)
    if state_dtype is None:
      dtype = _arrays.at_least_16_bits(dtype)
      dtype = _arrays.real_dtype(dtype) if real else dtype
    else:
      dtype = state_dtype
      known = _numbers.is_known(decay)
      if known and 1 - float(decay) < jnp.finfo(dtype).eps:
        dtype = _arrays.promoted(dtype, jnp.float32)
      if is_complex:
        dtype = _arrays.promoted(dtype, jnp.complex64)
    # The dtype is given so that no state is weakly typed.
    return jnp.zeros_like(leaf, dtype=dtype)

  return Moments(
    zeros(numbers.activity_decay, real=True),
    zeros(numbers.memory_b1, real=False),
    zeros(numbers.memory_b2, real=True),
  )


def remember(inputs: Inputs, stages: Stages) -> Inputs:
  """The leaf with its moments after this update, in at least float32."""
  if _is_absent(inputs.gradient) or inputs.moments is None:
    return inputs
  dtype = _compute_dtype(inputs)
  numbers = stages.numbers.cast(dtype)
  g = _arrays.upcast(jnp.asarray(inputs.gradient), dtype)
  a, m, v = _arrays.upcast(inputs.moments, dtype)

  def average(old: jax.Array, new: jax.Array, decay: Any) -> jax.Array:
    return _arrays.times(decay, old) + _arrays.times(1 - decay, new)

  moments = Moments(
    average(a, _absolute(g), numbers.activity_decay),
    average(m, g, numbers.memory_b1),
    average(v, _square(g), numbers.memory_b2),
  )
  return inputs._replace(moments=moments)


def stored(moments: Moments | None, like: Moments | None) -> Moments | None:
  """Moments in the dtypes of those that they replace."""
  return jax.tree.map(_arrays.downcast, moments, like)


def _absolute(x: jax.Array) -> jax.Array:
  """|x|, in a form that is not to be summed: sums are over `jnp.abs(x)`.

  XLA shares equal expressions, and on CPUs it then writes |x| to memory before
  it sums it. Max(x, -x) is another expression; each is fused where it is used.
  """
  return jnp.abs(x) if jnp.iscomplexobj(x) else jnp.maximum(x, -x)


def _square(x: jax.Array) -> jax.Array:
  """|x|², held at the largest finite number where it would overflow."""
  squares = jnp.square(x.real)
  if jnp.iscomplexobj(x):
    squares += jnp.square(x.imag)
  # Chosen, not `minimum`, whose derivative there is 0·∞.
  largest = jnp.finfo(squares.dtype).max
  return jnp.where(squares == jnp.inf, largest, squares)


# The plasticity coefficient α.


@jax.custom_jvp
def memory_signal(
  magnitude: jax.Array, nu: jax.Array, eps: jax.Array
) -> jax.Array:
  """|m| / max(√v + ε, 2⁻¹⁰⁰·|m|).

  It is held below 2¹⁰⁰, where its mean could overflow: that far it gets only
  if v vanished, as when it is stored in float16.
  """
  # A floor of the divisor: a minimum of the ratio would be one more pass over
  # the tensor on CPUs, where XLA fuses nothing that follows a division.
  return magnitude / jnp.maximum(jnp.sqrt(nu) + eps, magnitude * 2.0**-100)


@memory_signal.defjvp
def _memory_signal_jvp(
  primals: tuple[jax.Array, jax.Array, jax.Array],
  tangents: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """The derivative: of √v 0 where v = 0, and all 0 where the ratio is held."""
  magnitude, nu, eps = primals
  d_magnitude, d_nu, d_eps = tangents
  positive = nu > 0
  # Chosen before the root is taken: it is differentiated again for a Hessian.
  root = jnp.sqrt(jnp.where(positive, nu, 1.0))
  d_root = jnp.where(positive, d_nu, 0.0) * (0.5 / root)
  divisor = jnp.where(positive, root, 0.0) + eps
  held = divisor < magnitude * 2.0**-100
  # Chosen before it divides: backwards, the quotient would overflow.
  divisor = jnp.where(held, 1.0, divisor)
  ratio = memory_signal(magnitude, nu, eps)
  tangent = (d_magnitude - ratio * (d_root + d_eps)) / divisor
  return ratio, jnp.where(held, 0.0, tangent)


def coefficients(
  gradient: jax.Array,
  moments: Moments | None,
  numbers: _numbers.Numbers,
  sums: _arrays.Sums,
  *,
  parameterwise: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """α and α_grad of one tensor, and the mean of |g|, which they need.

  With one α for the tensor they are scalars. Without moments, α = α_grad.
  """
  magnitude = _absolute(gradient)
  mean_magnitude = sums.mean(jnp.abs(gradient))
  eps = numbers.eps

  def normalized(x: jax.Array, mean: jax.Array, weight: Any = 1.0) -> jax.Array:
    """weight·ν(x); of the mean where there is one α for the tensor."""
    inverse = _inverse(mean + eps, eps)
    return (x if parameterwise else mean) * (weight * inverse)

  def clipped(signal: jax.Array) -> jax.Array:
    return jnp.clip(signal, numbers.min_alpha, numbers.max_alpha)

  alpha_gradient = clipped(normalized(magnitude, mean_magnitude))
  if moments is None:
    return alpha_gradient, alpha_gradient, mean_magnitude
  a, m, v = moments
  memory = memory_signal(jnp.abs(m), v, jnp.asarray(eps, v.dtype))
  alpha_full = clipped(
    normalized(a, sums.mean(a), numbers.activity_weight)
    + normalized(magnitude, mean_magnitude, numbers.gradient_weight)
    + normalized(memory, sums.mean(memory), numbers.memory_weight)
  )
  alpha = alpha_gradient + numbers.plasticity_scale * (
    alpha_full - alpha_gradient
  )
  return alpha, alpha_gradient, mean_magnitude


def _inverse(y: jax.Array, low: _numbers.Scalar) -> jax.Array:
  """1 / y of a scalar y ≥ low."""
  if _numbers.is_known(low) and low >= 2.0**-60:
    return 1 / y  # The derivative holds 1 / y², which cannot overflow.
  return _arrays.divide(_arrays.one_like(y), y)


# The update.


def propose(
  inputs: Inputs, plan: Plan, stages: Stages, *, measure: bool
) -> Proposal:
  """The update of one leaf, up to the controller, with schedules resolved.

  A leaf that is None or empty is left as it is.
  """
  if _is_absent(inputs.gradient):
    return Proposal(inputs.base_update, None, None)
  if not plan.modulate:  # Whatever there is may not fit the leaf.
    inputs = inputs._replace(momentum=None)
  arrays = jax.tree.map(jnp.asarray, inputs)
  one = functools.partial(
    _propose_slice, plan=plan, stages=stages, measure=measure
  )
  return _trees.over_slices(one, plan.stacked_axes)(arrays)


def finish(proposal: Proposal, multiplier: jax.Array | None, like: Any) -> Any:
  """The update of one leaf, from the controller on, in the dtype of `like`."""
  update = proposal.update
  if update is None:
    return None
  if multiplier is not None:
    update = _arrays.times(multiplier, update)
  return _arrays.downcast(update, jnp.asarray(like))


def _propose_slice(
  inputs: Inputs, plan: Plan, stages: Stages, *, measure: bool
) -> Proposal:
  """The proposal of one tensor that has at least one element."""
  dtype = _compute_dtype(inputs)
  numbers, modulation, homeostasis, parameterwise = stages.cast(dtype)
  g, b, parameter, momentum, moments = _arrays.upcast(inputs, dtype)
  sums = _arrays.Sums(plan.axis_name)
  alpha, alpha_gradient, mean_magnitude = coefficients(
    g, moments, numbers, sums, parameterwise=parameterwise
  )
  sums = _arrays.Sums(plan.axis_name, _arrays.norm_scale(mean_magnitude))
  tensor = modulations.Tensor(
    b, g, alpha, alpha_gradient, parameter, momentum, numbers.eps, sums
  )
  u = modulated = _modulated(modulation, tensor) if plan.modulate else b
  if plan.decay:
    u = u + _arrays.times(numbers.weight_decay, parameter)
  raw_update = u
  factor: Any = 1.0
  if homeostasis is not None:
    factor = _stages.factor(
      tensor.norm(u),
      sums.size(u),
      homeostasis,
      _numbers.REAL.cast(plan.target_rms_scale, dtype),
      numbers.eps,
    )
    u = _stages.scaled(u, factor)
  log_ratio = measured = None
  if plan.group is not None:
    log_ratio = tensor.mean(
      _stages.log_ratio(alpha, alpha_gradient, numbers.eps)
    )
  if measure:
    bounds = numbers.min_alpha, numbers.max_alpha
    measured = _statistics.measure(
      tensor, modulated, raw_update, factor, *bounds
    )
  return Proposal(u, log_ratio, measured)


def _is_absent(gradient: Any) -> bool:
  """Whether a leaf is None or empty."""
  return gradient is None or 0 in jnp.shape(gradient)


def _compute_dtype(inputs: Inputs) -> Any:
  return _arrays.compute_dtype(
    (inputs.gradient, inputs.base_update, inputs.moments)
  )


def _modulated(
  modulation: modulations.Modulation, tensor: modulations.Tensor
) -> jax.Array:
  """The update that the rule makes, which must not be broadcast."""
  update = modulation.modulate(tensor)
  wanted = jnp.shape(tensor.base_update)
  if update is None or jnp.shape(update) != wanted:
    found = 'None' if update is None else f'shape {jnp.shape(update)}'
    raise ValueError(
      f'{type(modulation).__name__}.modulate must return an array of the shape '
      f'of tensor.base_update, {wanted}, got {found}.'
    )
  return update
