"""Grams: how far to go by the momentum, which way by the gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def grams(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Gives a direction the signs of the gradient.

  With u the direction of `inner`,

      u ← sign(g) ⊙ |u|

  and so 0 where g is 0. Grams is this over Adam, with the bias correction of
  both moments, (β = 0.9, 0.999, ε = 1e-8), and with a decoupled decay.

  Args:
    inner: a direction, of which minus the learning rate is taken later.

  Returns:
    A transformation with the state of `inner`.

  References:
    Cao et al., `Grams: Gradient Descent with Adaptive Momentum Scaling
    <https://arxiv.org/abs/2412.17107>`_, 2024
  """
  inner = optax.with_extra_args_support(inner)

  def update_fn(
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, optax.OptState]:
    direction, state = inner.update(updates, state, params, **extra_args)
    signed = jax.tree.map(
      lambda u, g: jnp.sign(g) * jnp.abs(u), direction, updates
    )
    return signed, state

  return optax.GradientTransformationExtraArgs(inner.init, update_fn)
