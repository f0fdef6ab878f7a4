"""MGUP: longer steps where momentum and gradient agree most."""

import jax
import jax.numpy as jnp
import optax

from experiments.optimizers import tensors


def scale_by_mgup_adam(
  fraction: float = 0.5,
  b1: jax.typing.ArrayLike = 0.9,
  b2: jax.typing.ArrayLike = 0.999,
  eps: jax.typing.ArrayLike = 1e-6,
  *,
  stacked_axes: tensors.StackedAxes = None,
) -> optax.GradientTransformation:
  """Adam with its steps scaled by the alignment of momentum and gradient.

  With u the direction of Adam and m its first moment after the update, of a
  tensor of n elements the k = ⌊τ·n⌋ with the largest m·g are chosen:

      u ← u / τ    of these
      u ← u·τ      of all others

  Of equal elements those that come first are chosen. A tensor of one element
  has k = 0 and thus always the short step.

  The authors' values are τ = 0.5 and those of Adam here. MGUP-AdamW has a
  decoupled decay, which is not scaled.

  Args:
    fraction: τ in (0, 1), a Python number.
    b1: β₁ of Adam.
    b2: β₂ of Adam.
    eps: ε of Adam.
    stacked_axes: which leaves hold several tensors; see `tensors.per_tensor`.

  Returns:
    A transformation without a learning rate or a sign, with the state of Adam.

  References:
    Chang & Yuan, `MGUP: A Momentum-Gradient Alignment Update Policy for
    Stochastic Optimization <https://arxiv.org/abs/2606.17526>`_, 2025
  """
  adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

  def aligned(u: jax.Array, m: jax.Array, g: jax.Array) -> jax.Array:
    chosen = largest(m * g, int(fraction * u.size))
    return u * jnp.where(chosen, 1 / fraction, fraction).astype(u.dtype)

  def update_fn(
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None = None,
  ) -> tuple[optax.Updates, optax.OptState]:
    direction, state = adam.update(updates, state, params)
    scaled = tensors.per_tensor(
      aligned, stacked_axes, direction, state.mu, updates
    )
    return scaled, state

  return optax.GradientTransformation(adam.init, update_fn)


def largest(x: jax.Array, count: int) -> jax.Array:
  """Which elements are the largest of an array.

  The smallest of them is found bit by bit, in 32 passes over the array: a sort,
  or `lax.top_k`, would take longer than the training step.

  Args:
    x: real, of any shape; compared in float32.
    count: how many to choose, from 0 to the size of x.

  Returns:
    bool, of the shape of x, exactly `count` of them true: of equal elements
    those that come first.
  """
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32).ravel(), jnp.uint32)
  sign = jnp.uint32(1 << 31)
  bits = jnp.where(bits == sign, 0, bits)  # -0 is 0.
  # Integers in the order of the floats.
  order = jnp.where(bits >= sign, ~bits, bits | sign)

  def refine(i: jax.Array, least: jax.Array) -> jax.Array:
    higher = least | (sign >> i.astype(jnp.uint32))
    return jnp.where(jnp.sum(order >= higher) >= count, higher, least)

  least = jax.lax.fori_loop(0, 32, refine, jnp.uint32(0))
  above, equal = order > least, order == least
  left = count - jnp.sum(above)
  chosen = above | (equal & (jnp.cumsum(equal) <= left))
  return chosen.reshape(x.shape)
