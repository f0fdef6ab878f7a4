"""Sums over all elements of a tensor, wherever they are."""

from collections.abc import Sequence
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

AxisName = str | Sequence[str]


@dataclasses.dataclass(frozen=True)
class Reductions:
  """Reductions over a whole tensor.

  Attributes:
    axis_name: the mesh axes over which the tensor is split inside
      `shard_map` or `pmap`; None where an array holds all of the tensor, as it
      does under `jit`, however it is sharded.
  """

  axis_name: AxisName | None = None

  def sum(self, x: jax.Array) -> jax.Array:
    """Σ x, a scalar of x's dtype."""
    # `jnp.sum` over all axes: a `ravel` first would gather a sharded array.
    return self.total(jnp.sum(x))

  def total(self, part: jax.Array) -> jax.Array:
    """The sum over all devices of what each found in its part."""
    if self.axis_name is None:
      return part
    return jax.lax.psum(part, self.axis_name)

  def min(self, x: jax.Array) -> jax.Array:
    """The smallest element, a scalar."""
    low = jnp.min(x)
    return low if self.axis_name is None else jax.lax.pmin(low, self.axis_name)

  def max(self, x: jax.Array) -> jax.Array:
    """The largest element, a scalar."""
    high = jnp.max(x)
    return (
      high if self.axis_name is None else jax.lax.pmax(high, self.axis_name)
    )

  def size(self, x: jax.Array) -> float | jax.Array:
    """The number of elements of the whole tensor, as `count` gives it."""
    size = count(x)
    if self.axis_name is None:
      return size
    return size * jax.lax.axis_size(self.axis_name)

  def mean(self, x: jax.Array) -> jax.Array:
    """Σ x / n, a scalar of x's dtype."""
    return self.sum(x) / self.size(x)

  def dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The real part of Σ x̄ y, a real scalar."""
    products = x.real * y.real
    if jnp.iscomplexobj(x) or jnp.iscomplexobj(y):
      products += x.imag * y.imag
    return self.sum(products)

  def norm(self, x: jax.Array) -> jax.Array:
    """√Σ|x|², a real scalar; its derivative is 0 where it is 0 or infinite."""
    return _norm(self, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _norm(reductions: Reductions, x: jax.Array) -> jax.Array:
  return jnp.sqrt(reductions.dot(x, x))


@_norm.defjvp
def _norm_jvp(
  reductions: Reductions,
  primals: tuple[jax.Array],
  tangents: tuple[jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """⟨x, dx⟩ / ‖x‖."""
  (x,), (dx,) = primals, tangents
  norm = _norm(reductions, x)
  inside = (norm > 0) & (norm < jnp.inf)
  unit = jnp.where(inside, x, 0.0) / jnp.where(inside, norm, 1.0)
  return norm, reductions.dot(unit, dx)


def count(x: jax.Array) -> float | jax.Array:
  """The number of elements of an array.

  It is a float, since JAX takes no Python integer beyond int32. It is a scalar
  array of x's real dtype where `jax.export` has a symbolic dimension.
  """
  if all(isinstance(n, int) for n in x.shape):
    return float(x.size)
  return math.prod(jnp.asarray(n).astype(x.real.dtype) for n in x.shape)


def norm_scale(magnitude: jax.Array) -> jax.Array:
  """A scale in which norms near `magnitude`, and near 1, can be computed.

  In float32 the square of 1e30 overflows and that of 1e-30 vanishes. Divided
  by this power of two, the squares of all from 1e-30 to 1e30 that go with
  gradients of a mean magnitude are representable, and so are those of
  parameters or of updates that do not depend on the gradient's magnitude.

  Args:
    magnitude: a scalar, say mean |g|; may be zero or infinite.

  Returns:
    A power of two between 2⁻⁴⁰ and 2⁵⁰, of the same dtype.
  """
  within = jnp.clip(magnitude, 2.0**-40, 2.0**50)
  exponent_bits = jnp.finfo(within.dtype).nexp
  # The scale cancels in whatever it is used for, and has no derivative.
  return jax.lax.stop_gradient(
    jax.lax.reduce_precision(within, exponent_bits, mantissa_bits=0)
  )
