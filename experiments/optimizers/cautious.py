"""Cautious optimizers: no step where it would go against the gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.optimizers import tensors


def cautious(
  inner: optax.GradientTransformation,
  stacked_axes: tensors.StackedAxes = None,
) -> optax.GradientTransformationExtraArgs:
  """Masks a direction where its sign is not the gradient's.

  With u the direction of `inner` and n the number of a tensor's elements,

      φ = 1 where u·g > 0, else 0
      u ← u ⊙ φ·n / (Σ φ + 1)

  so that what is left makes up for what is not. This is the paper's default,
  α(x) = dim(x) / (nnz(x > 0) + 1); its listing in PyTorch divides by
  mean(φ) + ε instead, which differs for small tensors. Nothing is clamped:
  where few elements agree, their steps are long.

  Cautious AdamW is this over Adam (β = 0.9, 0.999, ε = 1e-8, as AdamW's: the
  paper leaves a base's values alone), with a decoupled decay that is not
  masked.

  Args:
    inner: a direction, of which minus the learning rate is taken later.
    stacked_axes: which leaves hold several tensors; see `tensors.per_tensor`.

  Returns:
    A transformation with the state of `inner`.

  References:
    Liang et al., `Cautious Optimizers: Improving Training with One Line of
    Code <https://arxiv.org/abs/2411.16085>`_, 2024
  """
  inner = optax.with_extra_args_support(inner)

  def masked(u: jax.Array, g: jax.Array) -> jax.Array:
    # Not by the sign of a product, which may vanish.
    agree = jnp.sign(u) * jnp.sign(g) > 0
    kept = jnp.sum(agree, dtype=jnp.float32)
    return jnp.where(agree, u, 0) * (u.size / (kept + 1)).astype(u.dtype)

  def update_fn(
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, optax.OptState]:
    direction, state = inner.update(updates, state, params, **extra_args)
    return tensors.per_tensor(masked, stacked_axes, direction, updates), state

  return optax.GradientTransformationExtraArgs(inner.init, update_fn)
