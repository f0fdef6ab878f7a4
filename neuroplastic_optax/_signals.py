"""The three signals of plasticity: gradient, activity and memory.

As published (Jiang et al., arXiv:2604.26297), three moments are
updated first, the signals use the new values. None is bias-corrected.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _dtypes
from neuroplastic_optax import _numbers


class Moments(NamedTuple):
  """The moments of one tensor, at least float32."""

  activity: jax.Array  # a, an average of |g|: real, as g in shape
  mu: jax.Array  # m, an average of g: as g in shape, complex where g is
  nu: jax.Array  # v, an average of |g|²: real, as g in shape


def average(
  old: jax.Array, new: jax.Array, decay: _numbers.Scalar
) -> jax.Array:
  """decay·old + (1 - decay)·new."""
  return _dtypes.times(decay, old) + _dtypes.times(1 - decay, new)


def square(x: jax.Array) -> jax.Array:
  """|x|², held at the largest finite number where it would overflow."""
  squares = jnp.square(x.real)
  if jnp.iscomplexobj(x):
    squares += jnp.square(x.imag)
  # Chosen, not `minimum`, whose derivative there is 0·∞.
  largest = jnp.finfo(squares.dtype).max
  return jnp.where(squares == jnp.inf, largest, squares)


def update_moments(
  gradient: jax.Array,
  moments: Moments,
  activity_decay: _numbers.Scalar,
  memory_b1: _numbers.Scalar,
  memory_b2: _numbers.Scalar,
) -> Moments:
  """a ← ρa + (1-ρ)|g|; m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)|g|²."""
  return Moments(
    average(moments.activity, absolute(gradient), activity_decay),
    average(moments.mu, gradient, memory_b1),
    average(moments.nu, square(gradient), memory_b2),
  )


def memory(mu: jax.Array, nu: jax.Array, eps: _numbers.Scalar) -> jax.Array:
  """The memory signal |m| / (√v + ε), real.

  It is held below 2¹⁰⁰, where its mean could overflow: that far it gets only
  if v vanished, as when it is stored in float16.
  """
  magnitude = jnp.abs(mu)
  return _ratio(magnitude, nu, jnp.asarray(eps, nu.dtype))


@jax.custom_jvp
def _ratio(magnitude: jax.Array, nu: jax.Array, eps: jax.Array) -> jax.Array:
  """|m| / max(√v + ε, 2⁻¹⁰⁰·|m|)."""
  # A floor of the divisor: a minimum of the ratio would be one more pass over
  # the tensor on CPUs, where XLA fuses nothing that follows a division.
  return magnitude / jnp.maximum(jnp.sqrt(nu) + eps, magnitude * 2.0**-100)


@_ratio.defjvp
def _ratio_jvp(
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
  ratio = _ratio(magnitude, nu, eps)
  tangent = (d_magnitude - ratio * (d_root + d_eps)) / divisor
  return ratio, jnp.where(held, 0.0, tangent)


def absolute(x: jax.Array) -> jax.Array:
  """|x|, in a form that is not to be summed: sums are over `jnp.abs(x)`.

  XLA shares equal expressions, and on CPUs it then writes |x| to memory before
  it sums it. Max(x, -x) is another expression; each is fused where it is used.
  """
  return jnp.abs(x) if jnp.iscomplexobj(x) else jnp.maximum(x, -x)
