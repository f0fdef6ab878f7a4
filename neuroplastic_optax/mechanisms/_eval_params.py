"""The params to evaluate with, where an optimizer trains others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _hare_and_tortoise
from neuroplastic_optax.mechanisms import _neural_variability

_STATES = (
  _hare_and_tortoise.HareAndTortoiseState,
  _neural_variability.NeuralVariabilityState,
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
  found = _found(opt_state)
  if len(found) != 1:
    how_many = 'more than one' if found else 'none'
    raise ValueError(
      'opt_state must hold one state of neural_variability or '
      f'hare_and_tortoise, it holds {how_many}'
      + (f': {", ".join(type(x).__name__ for x in found)}.' if found else '.')
    )
  (state,) = found
  is_slow = isinstance(state, _hare_and_tortoise.HareAndTortoiseState)
  held = state.slow if is_slow else state.noise
  function = _slow if is_slow else _clean
  # By leaves: within `nnx.Optimizer` variables stand around those of the state.
  leaves, treedef = jax.tree.flatten(params)
  values: list[Any] = jax.tree.leaves(held)
  flat = _trees.Flat(leaves, treedef)
  if len(values) != len(leaves):
    # A part of the params is masked, which may be more than one leaf.
    flat = _trees.flatten(params)
    values = _spread(held, flat)
  for i, (p, x) in enumerate(zip(flat.leaves, values, strict=True)):
    if p is not None and x is not None and np.shape(p) != np.shape(x):
      raise ValueError(
        'params must have the shapes of those that the optimizer was '
        f'initialized with, got shape {np.shape(p)} for params{flat.path(i)} '
        f'instead of {np.shape(x)}.'
      )
  return flat.unflatten(
    [
      p if p is None or x is None else function(p, jnp.asarray(x))
      for p, x in zip(flat.leaves, values, strict=True)
    ]
  )


def _spread(held: Any, flat: _trees.Flat) -> list[Any]:
  """What is held for each leaf; None for a leaf that is masked."""
  try:
    if not flat.leaves:
      raise ValueError('there are none.')
    return _trees.spread(held, flat)
  except (TypeError, ValueError) as e:
    raise ValueError(
      'params must have the structure of those that the optimizer was '
      f'initialized with: {e}'
    ) from None


def _found(opt_state: _types.OptState) -> list[Any]:
  """All states of the two mechanisms, also within one another."""
  is_ours = lambda x: isinstance(x, _STATES)
  found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_ours) if is_ours(x)]
  inside = [
    each
    for x in found
    if isinstance(x, _neural_variability.NeuralVariabilityState)
    for each in _found(x.inner)
  ]
  return found + inside


def _slow(p: jax.Array, slow: jax.Array) -> jax.Array:
  return slow.astype(jnp.result_type(p))


def _clean(p: jax.Array, noise: jax.Array) -> jax.Array:
  dtype = jnp.result_type(p)
  if _neural_variability.is_narrow(p):
    return noise.astype(dtype)
  return (p - noise.astype(dtype)).astype(dtype)
