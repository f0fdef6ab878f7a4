"""The plasticity coefficient α.

As published (Jiang et al., arXiv:2604.26297), with the mean over the tensor,

    ν(x)   = x / (mean(x) + ε)
    α_grad = clip(ν(|g|), α_min, α_max)
    α_full = clip(w_a·ν(a) + w_g·ν(|g|) + w_m·ν(|m| / (√v + ε)), α_min, α_max)
    α      = α_grad + κ·(α_full - α_grad)

For κ > 1, α goes beyond α_full; it is not clipped again.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _derivatives
from neuroplastic_optax import _numbers
from neuroplastic_optax import _reductions
from neuroplastic_optax import _signals


class Coefficients(NamedTuple):
  """The coefficients of one tensor: of its shape, or scalars for one α."""

  alpha: jax.Array
  alpha_gradient: jax.Array
  mean_magnitude: jax.Array  # The mean of |g|, a scalar.


def coefficients(
  gradient: jax.Array,
  moments: _signals.Moments | None,
  numbers: _numbers.Numbers,
  reductions: _reductions.Reductions,
  *,
  parameterwise: bool,
) -> Coefficients:
  """α and α_grad of one tensor, and the mean of |g|, which they need.

  Args:
    gradient: g, at least float32.
    moments: a, m and v after this update; None in gradient-only mode, where
      α = α_grad.
    numbers: the numbers of the formula, cast.
    reductions: the sums over the tensor.
    parameterwise: whether there is one α per element, or one for the tensor.

  Returns:
    The coefficients, real.
  """
  magnitude = _signals.absolute(gradient)
  mean_magnitude = reductions.mean(jnp.abs(gradient))
  eps = numbers.eps

  def normalized(x: jax.Array, mean: jax.Array, weight: Any = 1.0) -> jax.Array:
    """weight·ν(x); of the mean where there is one α for the tensor."""
    inverse = _inverse(mean + eps, eps)
    return (x if parameterwise else mean) * (weight * inverse)

  def clipped(signal: jax.Array) -> jax.Array:
    return jnp.clip(signal, numbers.min_alpha, numbers.max_alpha)

  alpha_gradient = clipped(normalized(magnitude, mean_magnitude))
  if moments is None:
    return Coefficients(alpha_gradient, alpha_gradient, mean_magnitude)
  activity = moments.activity
  memory = _signals.memory(moments.mu, moments.nu, eps)
  alpha_full = clipped(
    normalized(activity, reductions.mean(activity), numbers.activity_weight)
    + normalized(magnitude, mean_magnitude, numbers.gradient_weight)
    + normalized(memory, reductions.mean(memory), numbers.memory_weight)
  )
  alpha = alpha_gradient + numbers.plasticity_scale * (
    alpha_full - alpha_gradient
  )
  return Coefficients(alpha, alpha_gradient, mean_magnitude)


def _inverse(y: jax.Array, low: _numbers.Scalar) -> jax.Array:
  """1 / y of a scalar y ≥ low."""
  if _numbers.is_known(low) and low >= 2.0**-60:
    return 1 / y  # The derivative holds 1 / y², which cannot overflow.
  return _derivatives.divide(jnp.ones_like(y), y)
