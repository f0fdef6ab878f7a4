"""Refuses a base that descends, which a minus sign would make climb."""

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _types


def refuse(base: optax.GradientTransformation, params: _types.Params) -> None:
  """Raises ValueError if every leaf that moves at g = 1 goes down.

  Such a move must differ at g = -1, or it is a decay or noise. Leaves have one
  element. A base that starts at 0 or cannot be tried like this is let through.
  """
  update = optax.with_extra_args_support(base).update

  def moves(gradient: float) -> list[float]:
    ones = jax.tree.map(
      lambda p: jnp.ones_like(p, shape=(1,) * jnp.ndim(p)), params
    )
    gradients = jax.tree.map(lambda p: gradient * p, ones)
    moved, _ = update(gradients, base.init(ones), ones, value=jnp.ones([]))
    return [float(jnp.sum(x).real) for x in jax.tree.leaves(moved)]

  # At once under `jit`, too. Optax's Adam needs the standard promotion.
  promotion = jax.numpy_dtype_promotion('standard')
  try:
    with jax.ensure_compile_time_eval(), jax.disable_jit(), promotion:
      pairs = [
        (x, y) for x, y in zip(moves(1.0), moves(-1.0), strict=True) if x
      ]
  except Exception:  # Whatever is wrong, its first true update says so.
    return
  if pairs and all(x < 0 and x < y for x, y in pairs):
    raise ValueError(
      'base must be a direction, but this one descends already. Give the '
      'learning rate and the decay to neuroplastic_optimizer, and no base '
      'instead of optax.sgd(0.1), base=optax.trace(0.9) instead of '
      'optax.sgd(0.1, 0.9), or base=optax.scale_by_adam() instead of '
      'optax.adamw(1e-3); or undo the sign with optax.chain(base, '
      'optax.scale(-1.0)).'
    )
