"""Resets an optimizer's state, of all params or of some."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _copies
from neuroplastic_optax.mechanisms import _leaves


def reset_state(
  tx: optax.GradientTransformation,
  state: _types.OptState,
  params: _types.Params,
  mask: Any = None,
) -> _types.OptState:
  """Resets the state of all params, or of the leaves and elements of a mask.

  Use it when a part of a model is made anew, such as dormant units or a new
  head, so that the optimizer forgets what it knew of the old one. What in the
  state is a copy of the params, such as Adam's moments, returns to what
  `tx.init(params)` makes. It is found through `optax.chain`, `partition`,
  `masked`, `inject_hyperparams`, and `neuroplastic` over a base.

  Without a mask, counts that are in one named tuple with a copy return to 0,
  such as Adam's, and those of `neuroplastic`, whose schedules begin again. The
  counts of other schedules go on. With a mask, all counts go on: moments that
  restart at 0 are then corrected as if they were old, and stay small for a
  while.

  Anchors, such as those of `regenerate` and `elastic_weight_consolidation`,
  move to the params now. So does what `neural_variability` takes for the params
  without noise: call `eval_params` first, and go on from there. Within
  `nnx.Optimizer`, give the state as `nnx.pure(optimizer.opt_state)`.

  What is not a copy of the params is not reset: the averaging weight of
  Schedule-Free, hyperparameters, and keys. State that has not the shape of its
  parameter, as in `optax.scale_by_factored_rms`, is reset for the whole leaf if
  the mask names any element of it.

  Args:
    tx: the transformation whose state it is.
    state: the state.
    params: the params now.
    mask: a pytree (prefix) of bools, or of arrays of bools of the shapes of the
      params: what to reset. A callable of the params will do, too. Arrays may
      be traced. None for everything.

  Returns:
    A state of the same structure, shapes and dtypes.

  Raises:
    TypeError: a leaf of the mask is no bool, or one of the params no array.
    ValueError: the mask does not fit the params, or the state is not one of
      `tx` for such params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.adam(0.1)
    >>> params = {'a': jnp.ones(2), 'b': jnp.ones(2)}
    >>> _, state = tx.update(params, tx.init(params), params)
    >>> mask = {'a': jnp.array([True, False]), 'b': False}
    >>> state = mechanisms.reset_state(tx, state, params, mask)
    >>> print([f'{x:.1f}' for x in optax.tree.get(state, 'mu')['a']])
    ['0.0', '0.1']
  """
  _leaves.check_transformation('tx', tx)
  flat = _trees.flatten(params)
  _trees.check_arrays('params', flat)
  whole = mask is None
  full = _copies.mask_of(flat, True if whole else mask)
  fresh = tx.init(params)
  structures: list[Any] = [jax.tree.structure(each) for each in (state, fresh)]
  if structures[0] != structures[1]:
    raise ValueError(
      'state must be one of tx for these params: it has not the structure of '
      'tx.init(params).'
    )
  return _copies.restored(tx, state, fresh, _pick, full, counts=whole)


def _pick(old: Any, fresh: Any, mask: Any) -> Any:
  """A leaf of the state, reset where the mask says so."""
  # Of the same type, weak or not: the state keeps its own.
  fresh = jnp.asarray(fresh).astype(jnp.result_type(old))
  if mask is None or mask is True:
    return jnp.array(fresh, copy=True)
  if mask is False:
    return old
  if jnp.shape(mask) != jnp.shape(old):
    mask = jnp.any(mask)
  return jax.lax.select(
    jnp.broadcast_to(mask, jnp.shape(old)), fresh, jnp.asarray(old)
  )
