"""Adam whose steps depend on how far they agree with the gradient.

A rule takes, of one tensor, the direction u of Adam, its first moment m after
the update and the gradient g, and gives the new direction.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from experiments.optimizers import tensors


def scale_by_adam_rule(
  rule: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
  stacked_axes: tensors.StackedAxes = None,
  *,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """The direction of Adam, β = (0.9, 0.999), changed by a rule.

  Args:
    rule: `cautious`, `grams` or `mgup`.
    stacked_axes: which leaves hold several tensors; see `tensors.per_tensor`.
    eps: ε of Adam.

  Returns:
    A transformation without a learning rate or a sign, with the state of Adam.
  """
  adam = optax.scale_by_adam(eps=eps)

  def update_fn(
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None = None,
  ) -> tuple[optax.Updates, optax.OptState]:
    u, state = adam.update(updates, state, params)
    return tensors.per_tensor(rule, stacked_axes, u, state.mu, updates), state

  return optax.GradientTransformation(adam.init, update_fn)


def cautious(u: jax.Array, _: jax.Array, g: jax.Array) -> jax.Array:
  """Masks a direction where its sign is not the gradient's.

  With n the number of elements,

      φ = 1 where u·g > 0, else 0
      u ← u ⊙ φ·n / (Σ φ + 1)

  so that what is left makes up for what is not. This is the paper's default,
  α(x) = dim(x) / (nnz(x > 0) + 1); its listing in PyTorch divides by
  mean(φ) + ε instead, which differs for small tensors. Nothing is clamped:
  where few elements agree, their steps are long.

  The paper leaves the values of Adam alone; the decoupled decay of Cautious
  AdamW is not masked.

  References:
    Liang et al., `Cautious Optimizers: Improving Training with One Line of
    Code <https://arxiv.org/abs/2411.16085>`_, 2024
  """
  # Not by the sign of a product, which may vanish.
  agree = jnp.sign(u) * jnp.sign(g) > 0
  kept = jnp.sum(agree, dtype=jnp.float32)
  return jnp.where(agree, u, 0) * (u.size / (kept + 1)).astype(u.dtype)


def grams(u: jax.Array, _: jax.Array, g: jax.Array) -> jax.Array:
  """Gives a direction the signs of the gradient: u ← sign(g) ⊙ |u|.

  References:
    Cao et al., `Grams: Gradient Descent with Adaptive Momentum Scaling
    <https://arxiv.org/abs/2412.17107>`_, 2024
  """
  return jnp.sign(g) * jnp.abs(u)


def mgup(u: jax.Array, m: jax.Array, g: jax.Array) -> jax.Array:
  """Scales a direction by the alignment of momentum and gradient.

  Of n elements the k = ⌊τ·n⌋ with the largest m·g are chosen, and

      u ← u / τ    of these
      u ← u·τ      of all others

  Of equal elements those that come first are chosen. A tensor of one element
  has k = 0 and thus always the short step.

  The authors have τ = 0.5, and ε = 1e-6 in Adam. The decoupled decay of
  MGUP-AdamW is not scaled.

  References:
    Chang & Yuan, `MGUP: A Momentum-Gradient Alignment Update Policy for
    Stochastic Optimization <https://arxiv.org/abs/2606.17526>`_, 2025
  """
  tau = 0.5
  chosen = largest(m * g, int(tau * u.size))
  return u * jnp.where(chosen, 1 / tau, tau).astype(u.dtype)


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
