"""What a modulation rule sees of one parameter tensor."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from neuroplastic_optax import _dtypes
from neuroplastic_optax import _numbers
from neuroplastic_optax import _reductions


@dataclasses.dataclass(frozen=True)
class Tensor:
  """What a rule sees of one parameter tensor at one update.

  Arrays have the shape of the tensor and are at least float32. The methods are
  sums over the whole tensor, also where it is split over devices inside
  `shard_map`; with stacked axes, a tensor is one slice. They take arrays of
  the tensor's shape, or scalars, which stand for a tensor of equal elements.

  Attributes:
    base_update: b, the update of the base; g without a base.
    gradient: g, the raw gradient.
    alpha: α, real; a scalar where there is one α for the whole tensor.
    alpha_gradient: α_grad, of the same shape as α.
    parameter: θ for rules with `uses_parameter = True`. For other rules it may
      be None.
    momentum: m̂ for rules with `uses_momentum = True`, else None.
    eps: ε, a scalar.
    reductions: how the library sums over the tensor. Rules should use the
      methods instead.
    norm_scale: the power of two by which the library divides before it squares,
      near the mean of |g|. Rules should use `norm` instead.
  """

  base_update: jax.Array
  gradient: jax.Array
  alpha: jax.Array
  alpha_gradient: jax.Array
  parameter: Any
  momentum: Any
  eps: _numbers.Scalar
  reductions: _reductions.Reductions
  norm_scale: jax.Array

  def sum(self, x: jax.Array) -> jax.Array:
    """Returns Σ x over the tensor, a scalar of x's dtype."""
    return self.reductions.sum(self.filled(x))

  def mean(self, x: jax.Array) -> jax.Array:
    """Returns the mean of x over the tensor, a scalar of x's dtype."""
    return self.reductions.mean(self.filled(x))

  def dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns Σ x ⊙ y over the tensor, a real scalar.

    For complex arrays this is the real part of Σ x̄ ⊙ y. Products that are too
    large or too small for the dtype overflow or vanish; `norm` avoids that.
    """
    return self.reductions.dot(self.filled(x), y)

  def norm(self, x: jax.Array) -> jax.Array:
    """Returns ‖x‖ over the tensor, a real scalar.

    Squares neither overflow nor vanish for magnitudes from 1e-30 to 1e30 that
    are near that of the gradient or near 1: the elements are divided by a power
    of two before they are squared, which rounds nothing. The derivative is 0
    where the norm is.
    """
    return self.reductions.norm(self._scaled(x)) * self.norm_scale

  def scaled_dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns Σ x ⊙ y / norm_scale², where Σ x ⊙ y might overflow or vanish.

    It is meant for ratios of two such sums, in which the scale cancels.
    """
    return self.reductions.dot(self._scaled(x), self._scaled(y))

  def _scaled(self, x: jax.Array) -> jax.Array:
    return _dtypes.times(1 / self.norm_scale, self.filled(x))

  def filled(self, x: jax.Array) -> jax.Array:
    """Returns x, or a tensor that is x everywhere where x is a scalar."""
    return jnp.broadcast_to(x, self.base_update.shape)
