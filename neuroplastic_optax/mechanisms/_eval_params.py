"""The params to evaluate with, where an optimizer trains others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms._hare_and_tortoise import (
  HareAndTortoiseState,
)
from neuroplastic_optax.mechanisms._neural_variability import is_narrow
from neuroplastic_optax.mechanisms._neural_variability import (
  NeuralVariabilityState,
)


def eval_params(
  opt_state: _types.OptState, params: _types.Params
) -> _types.Params:
  """The params to evaluate with, where an optimizer trains others.

  Use it before evaluation, and before saving a model, with an optimizer that
  has one of the two in it: `neural_variability` gives the params without their
  noise, `hare_and_tortoise` the slow ones. The state may be that of a chain or
  of wrappers. Leaves that `optax.masked` keeps from the mechanism are returned
  as they are.

  Args:
    opt_state: the state of the optimizer.
    params: the params that are trained.

  Returns:
    A tree like the params, of their dtypes.

  Raises:
    ValueError: the state holds none of the two mechanisms, or more than one, or
      was made for params of other shapes.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(optax.sgd(0.1), mechanisms.hare_and_tortoise(0.9))
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> updates, state = tx.update(params, state, params)
    >>> params = optax.apply_updates(params, updates)
    >>> slow = mechanisms.eval_params(state, params)
    >>> print(f'{params[0]:.2f} {slow[0]:.2f}')
    0.90 0.99
  """
  states = _states(opt_state)
  if len(states) != 1:
    how_many = 'more than one: ' if states else 'none'
    names = ', '.join(type(x).__name__ for x in states)
    raise ValueError(
      'opt_state must hold one state of neural_variability or '
      f'hare_and_tortoise, it holds {how_many}{names}.'
    )
  (state,) = states
  slow = isinstance(state, HareAndTortoiseState)
  held = state.slow if slow else state.noise
  # By leaves: within `nnx.Optimizer` variables stand around those of the state.
  flat = _trees.Flat(*jax.tree.flatten(params))
  values: list[Any] = jax.tree.leaves(held)
  if len(values) != len(flat.leaves):
    # A part of the params is masked, which may be more than one leaf. An empty
    # tree fits no state: None stands for it.
    flat = _trees.flatten(params if flat.leaves else None)
    values = _trees.broadcast('what opt_state holds', held, flat)

  def clean(i: int, p: Any, x: Any) -> Any:
    if p is None or x is None:
      return p
    if np.shape(p) != np.shape(x):
      raise ValueError(
        'params must have the shapes of those that the optimizer was '
        f'initialized with, got shape {np.shape(p)} for params{flat.path(i)} '
        f'instead of {np.shape(x)}.'
      )
    dtype = jnp.result_type(p)
    x = jnp.asarray(x).astype(dtype)
    return x if slow or is_narrow(p) else (p - x).astype(dtype)

  rows = enumerate(zip(flat.leaves, values, strict=True))
  return flat.unflatten([clean(i, p, x) for i, (p, x) in rows])


def _states(opt_state: _types.OptState) -> list[Any]:
  """All states of the two mechanisms, also within one another."""
  ours = (HareAndTortoiseState, NeuralVariabilityState)
  is_ours = lambda x: isinstance(x, ours)
  found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_ours) if is_ours(x)]
  inner = [x.inner for x in found if isinstance(x, NeuralVariabilityState)]
  return found + (_states(inner) if inner else [])
