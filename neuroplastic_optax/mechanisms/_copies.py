"""What in an optimizer's state is a copy of the params, found and reset.

`optax.tree.map_params` finds the copies: it makes a state of a placeholder in
place of the params, and looks where that has got to. We need the counts beside
the copies as well, and so that state of placeholders itself.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax import _types

# Of an old leaf, what `init` makes of it, and the part of the mask for it.
Pick = Callable[[Any, Any, Any], Any]


def skeleton(tx: optax.GradientTransformation) -> tuple[Any, type]:
  """A state in which a placeholder stands for every copy of the params.

  Returns:
    The state, and the type of the placeholder.
  """
  found: list[Any] = []

  def init(placeholder: Any) -> Any:
    found.append((tx.init(placeholder), type(placeholder)))
    # Nothing to map over.
    return None

  optax.tree.map_params(init, lambda x: x, None)
  return found[0]


def restored(
  tx: optax.GradientTransformation,
  state: _types.OptState,
  fresh: _types.OptState,
  pick: Pick,
  mask: Any,
  *,
  counts: bool,
) -> _types.OptState:
  """The state, with what is a copy of the params reset.

  Args:
    tx: whose state it is.
    state: the state.
    fresh: what `tx.init` makes of the params.
    pick: `pick(old, fresh, mask)` is the new leaf.
    mask: a tree like the params, whose leaves `pick` gets.
    counts: whether to reset counts that are in one named tuple with a copy.
  """
  bones, placeholder = skeleton(tx)
  is_copy = lambda x: isinstance(x, placeholder)

  def walk(bone: Any, old: Any, new: Any) -> Any:
    if is_copy(bone):
      return _copies(old, new, mask, pick)
    if not _is_named(bone):
      return old
    parts = [spread(*each) for each in zip(bone, old, new, strict=True)]
    if counts and any(_holds_copy(each, is_copy) for each in bone):
      parts = [
        pick(part, start, None) if _is_count(name, part) else part
        for name, part, start in zip(bone._fields, parts, new, strict=True)
      ]
    return type(old)(*parts)

  def spread(bone: Any, old: Any, new: Any) -> Any:
    return jax.tree.map(
      walk, bone, old, new, is_leaf=lambda x: is_copy(x) or _is_named(x)
    )

  return spread(bones, state, fresh)


def _is_named(x: Any) -> bool:
  return isinstance(x, tuple) and hasattr(x, '_fields') and bool(x)


def _holds_copy(bone: Any, is_copy: Callable[[Any], bool]) -> bool:
  """Whether a field holds a copy itself, in no named tuple within it."""
  leaves = jax.tree.leaves(bone, is_leaf=lambda x: is_copy(x) or _is_named(x))
  return any(map(is_copy, leaves))


def _is_count(name: str, value: Any) -> bool:
  return (
    'count' in name.split('_')
    and jnp.ndim(value) == 0
    and jnp.issubdtype(jnp.result_type(value), jnp.integer)
  )


def _copies(old: Any, new: Any, mask: Any, pick: Pick) -> Any:
  """One copy of the params, reset where the mask says so."""
  stop = lambda x: x is None or isinstance(x, optax.MaskedNode)

  def one(old: Any, new: Any, mask: Any) -> Any:
    return old if stop(old) else pick(old, new, mask)

  return jax.tree.map(one, old, new, mask, is_leaf=stop)


def mask_of(flat: _trees.Flat, mask: Any) -> Any:
  """A mask of leaves or elements, as a tree like the params.

  Raises:
    TypeError: a leaf of the mask is neither a bool nor an array of bools.
    ValueError: the mask, or one of its arrays, does not fit the params.
  """
  values = _trees.broadcast('mask', mask, flat)
  for i, (value, leaf) in enumerate(zip(values, flat.leaves, strict=True)):
    if leaf is None:
      continue
    if isinstance(value, bool):
      continue
    if getattr(value, 'dtype', None) != jnp.bool_:
      raise TypeError(
        'the leaves of mask must be bools or arrays of bools, got '
        f'{value!r} for params{flat.path(i)}.'
      )
    shape, wanted = jnp.shape(value), jnp.shape(leaf)
    if shape not in ((), wanted):
      raise ValueError(
        f'the leaves of mask must have the shape of the params or (), got '
        f'shape {shape} for params{flat.path(i)} of shape {wanted}.'
      )
  return flat.unflatten(values)
