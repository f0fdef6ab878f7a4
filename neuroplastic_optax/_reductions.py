"""Sums over all elements of a tensor, wherever they are."""

from collections.abc import Sequence
import dataclasses

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
    total = jnp.sum(x)
    return (
      total if self.axis_name is None else jax.lax.psum(total, self.axis_name)
    )

  def size(self, x: jax.Array) -> int:
    """The number of elements of the whole tensor."""
    if self.axis_name is None:
      return x.size
    return x.size * jax.lax.axis_size(self.axis_name)

  def mean(self, x: jax.Array) -> jax.Array:
    """Σ x / n, a scalar of x's dtype."""
    return self.sum(x) / self.size(x)

  def norm(self, x: jax.Array, scale: jax.Array) -> jax.Array:
    """The 2-norm of `x`.

    Args:
      x: the tensor, real or complex, at least float32.
      scale: a power of two, as from `norm_scale`. The squares are those of
        x / scale, so that they neither overflow nor vanish; a power of two
        makes that exact.

    Returns:
      A real scalar.
    """
    x = x * (1 / scale)
    squares = jnp.square(x.real)
    if jnp.iscomplexobj(x):
      squares += jnp.square(x.imag)
    return jnp.sqrt(self.sum(squares)) * scale


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
  return jax.lax.reduce_precision(within, exponent_bits, mantissa_bits=0)
