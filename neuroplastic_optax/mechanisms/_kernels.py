"""The places of a kernel's axes, also behind stacked axes.

A kernel is [..., in, out], after its stacked axes.
"""

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays


def rank(leaf: jax.Array, stacked: int) -> int:
  """How many axes a leaf has, stacked ones aside."""
  return jnp.ndim(leaf) - stacked


def all_axes(leaf: jax.Array, stacked: int) -> tuple[int, ...]:
  """The axes of the tensors in a leaf."""
  return tuple(range(stacked, jnp.ndim(leaf)))


def incoming_axes(leaf: jax.Array, stacked: int) -> tuple[int, ...]:
  """The axes over which the weights into one output unit lie."""
  return all_axes(leaf, stacked)[:-1]


def input_axis(leaf: jax.Array, stacked: int) -> tuple[int, ...]:
  """The input axis of a kernel; of a vector or a scalar, all it has."""
  return (
    all_axes(leaf, stacked)[-2:][:1]
    if rank(leaf, stacked) > 1
    else (all_axes(leaf, stacked))
  )


def fan_in(shape: tuple[int, ...], stacked: int) -> int:
  """The number of weights into one output unit."""
  product = 1
  for size in shape[stacked:-1]:
    product *= size
  return product


def sums(
  x: jax.Array, axes: tuple[int, ...], names: tuple[str, ...] | None
) -> jax.Array:
  """Σ x over some axes, which stay as axes of size 1."""
  part = jnp.sum(x, axis=axes, keepdims=True)
  return _arrays.Sums(names).total(part)


def norms(
  x: jax.Array, axes: tuple[int, ...], names: tuple[str, ...] | None
) -> jax.Array:
  """√Σx² over some axes, which stay; no square overflows or vanishes."""
  largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
  if names is not None:
    largest = jax.lax.pmax(largest, names)
  tiny = float(jnp.finfo(x.dtype).tiny)
  scale = jnp.where(largest >= tiny, largest, jnp.ones_like(largest))
  return scale * jnp.sqrt(sums(jnp.square(x * (1 / scale)), axes, names))
