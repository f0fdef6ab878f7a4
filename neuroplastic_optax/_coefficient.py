"""The plasticity coefficient α.

ALGORITHM, section 2 (Jiang et al., arXiv:2604.26297):

  α_grad = clip(ν(|g|), α_min, α_max)
  α_full = clip(w_a·ν(a) + w_g·ν(|g|) + w_m·ν(|m|/(√v+ε)), α_min, α_max)
  α      = α_grad + κ·(α_full - α_grad)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _hyperparameters


class Signal(NamedTuple):
  """A raw signal, its mean over the tensor, and 1 / (mean + ε)."""

  value: jax.Array
  mean: jax.Array
  normalizer: jax.Array

  def normalized(
    self, weight: _hyperparameters.Scalar = 1.0, *, parameterwise: bool
  ) -> jax.Array:
    """weight·ν(x): of the tensor's shape, or a scalar, its own mean."""
    x = self.value if parameterwise else self.mean
    return x * (weight * self.normalizer)


def clipped(
  signal: jax.Array, low: _hyperparameters.Scalar, high: _hyperparameters.Scalar
) -> jax.Array:
  """clip(signal, α_min, α_max)."""
  return jnp.clip(signal, low, high)


def extrapolate(
  alpha_gradient: jax.Array, alpha_full: jax.Array, scale: _hyperparameters.Scalar
) -> jax.Array:
  """α_grad + κ·(α_full - α_grad): beyond α_full for κ > 1, not clipped."""
  return alpha_gradient + scale * (alpha_full - alpha_gradient)
