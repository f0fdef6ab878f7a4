"""Resets an optimizer's state, of all params or of some."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax import _types
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
  restart at 0 are then corrected as if they were old. With a large count, Adam
  at its defaults then steps by up to 6.6 times the learning rate, at the 12th
  update after, and by more than 1.2 times for a thousand. The remedy is
  `units.scale_by_adam`, which counts for each element.

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
  full = _full_mask(True if mask is None else mask, flat)
  fresh = tx.init(params)
  structures: list[Any] = [jax.tree.structure(each) for each in (state, fresh)]
  if structures[0] != structures[1]:
    raise ValueError(
      'state must be one of tx for these params: it has not the structure of '
      'tx.init(params).'
    )

  def pick(old: Any, fresh: Any, mask: Any) -> Any:
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

  return restored(tx, state, fresh, pick, full, counts=mask is None)


def _full_mask(mask: Any, flat: _trees.Flat) -> Any:
  """A mask of leaves or elements, as a tree like the params."""
  values = _trees.broadcast('mask', mask, flat)
  for i, (value, leaf) in enumerate(zip(values, flat.leaves, strict=True)):
    if leaf is None or isinstance(value, bool):
      continue
    if getattr(value, 'dtype', None) != jnp.bool_:
      raise TypeError(
        'the leaves of mask must be bools or arrays of bools, got '
        f'{value!r} for params{flat.path(i)}.'
      )
    shape, wanted = jnp.shape(value), jnp.shape(leaf)
    if shape not in ((), wanted):
      raise ValueError(
        'the leaves of mask must have the shape of the params or (), got '
        f'shape {shape} for params{flat.path(i)} of shape {wanted}.'
      )
  return flat.unflatten(values)


def restored(
  tx: optax.GradientTransformation,
  state: _types.OptState,
  fresh: _types.OptState,
  pick: Callable[[Any, Any, Any], Any],
  mask: Any,
  *,
  counts: bool,
) -> _types.OptState:
  """The state, with the copies of the params in it reset.

  `pick(old, fresh, mask)` is the new leaf, where `fresh` is what `tx.init`
  makes, and `mask` a leaf of that tree, or None for a count. With `counts`,
  those that are in one named tuple with a copy are reset, too.
  """
  # `optax.tree.map_params` finds copies by a state that is made of a
  # placeholder in place of the params. We need that state itself: the counts
  # beside the copies, too, are to be found.
  found: list[Any] = []

  def init(placeholder: Any) -> Any:
    found.append((tx.init(placeholder), type(placeholder)))
    # Nothing to map over.
    return None

  optax.tree.map_params(init, lambda x: x, None)
  bones, placeholder = found[0]
  is_copy = lambda x: isinstance(x, placeholder)
  stop = lambda x: is_copy(x) or _is_named(x)
  absent = lambda x: x is None or isinstance(x, optax.MaskedNode)

  def walk(bone: Any, old: Any, new: Any) -> Any:
    if is_copy(bone):
      one = lambda old, *rest: old if absent(old) else pick(old, *rest)
      return jax.tree.map(one, old, new, mask, is_leaf=absent)
    if not _is_named(bone):
      return old
    # Whether a field itself holds a copy, and not a named tuple in it.
    beside = counts and any(
      map(is_copy, jax.tree.leaves(list(bone), is_leaf=stop))
    )
    fields = []
    for name, *row in zip(bone._fields, bone, old, new, strict=True):
      if beside and _is_count(name, row[1]):
        fields.append(pick(row[1], row[2], None))
      else:
        fields.append(jax.tree.map(walk, *row, is_leaf=stop))
    return type(old)(*fields)

  return jax.tree.map(walk, bones, state, fresh, is_leaf=stop)


def _is_named(x: Any) -> bool:
  return isinstance(x, tuple) and hasattr(x, '_fields') and bool(x)


def _is_count(name: str, value: Any) -> bool:
  return (
    'count' in name.split('_')
    and jnp.ndim(value) == 0
    and jnp.issubdtype(jnp.result_type(value), jnp.integer)
  )
