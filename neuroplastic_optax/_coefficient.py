"""The plasticity coefficient α.

As published (Jiang et al., arXiv:2604.26297), with the mean over the tensor,

    ν(x)   = x / (mean(x) + ε)
    α_grad = clip(ν(|g|), α_min, α_max)
    α_full = clip(w_a·ν(a) + w_g·ν(|g|) + w_m·ν(|m| / (√v + ε)), α_min, α_max)
    α      = α_grad + κ·(α_full - α_grad)

For κ > 1, α goes beyond α_full; it is not clipped again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _derivatives
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _reductions
from neuroplastic_optax import _settings
from neuroplastic_optax import _signals


class Coefficients(NamedTuple):
  """The coefficients of one tensor: of its shape, or scalars for one α."""

  alpha: jax.Array
  alpha_gradient: jax.Array
  mean_magnitude: jax.Array  # The mean of |g|, a scalar.


def coefficients(
  gradient: jax.Array,
  moments: _signals.Moments | None,
  settings: _settings.Settings,
  reductions: _reductions.Reductions,
) -> Coefficients:
  """α and α_grad of one tensor, and the mean of |g|, which they need.

  Args:
    gradient: g, at least float32.
    moments: a, m and v after this update; None in gradient-only mode, where
      α = α_grad.
    settings: the numbers of the formula, cast.
    reductions: the sums over the tensor.

  Returns:
    The coefficients, real.
  """
  magnitude = _signals.absolute(gradient)
  mean_magnitude = reductions.mean(jnp.abs(gradient))
  alpha_gradient = _clip(
    normalized(magnitude, mean_magnitude, settings), settings
  )
  if moments is None:
    return Coefficients(alpha_gradient, alpha_gradient, mean_magnitude)
  activity = moments.activity
  memory = _signals.memory(moments.mu, moments.nu, settings.eps)
  blend = (
    normalized(
      activity, reductions.mean(activity), settings, settings.activity_weight
    )
    + normalized(magnitude, mean_magnitude, settings, settings.gradient_weight)
    + normalized(
      memory, reductions.mean(memory), settings, settings.memory_weight
    )
  )
  alpha_full = _clip(blend, settings)
  alpha = alpha_gradient + settings.plasticity_scale * (
    alpha_full - alpha_gradient
  )
  return Coefficients(alpha, alpha_gradient, mean_magnitude)


def normalized(
  signal: jax.Array,
  mean: jax.Array,
  settings: _settings.Settings,
  weight: _hyperparameters.Scalar = 1.0,
) -> jax.Array:
  """weight·ν(x), of the tensor's shape; for one α, of the mean: a scalar."""
  x = signal if settings.parameterwise else mean
  return x * (weight * _inverse(mean + settings.eps, settings.eps))


def _inverse(y: jax.Array, low: _hyperparameters.Scalar) -> jax.Array:
  """1 / y of a scalar y ≥ low."""
  if _hyperparameters.is_known(low) and low >= 2.0**-60:
    return 1 / y  # The derivative holds 1 / y², which cannot overflow.
  return _derivatives.divide(jnp.ones_like(y), y)


def _clip(signal: jax.Array, settings: _settings.Settings) -> jax.Array:
  return jnp.clip(signal, settings.min_alpha, settings.max_alpha)
