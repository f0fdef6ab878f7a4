"""Trees: how leaves are found, and what users say of each of them.

Masks, groups, scales, stacked axes and axis names may be pytrees, prefixes of
one, or callables. Here they become plain lists with an entry for each leaf;
nothing else knows what a tree is.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import _numbers

_is_none = lambda x: x is None


@dataclasses.dataclass(frozen=True)
class Flat:
  """A tree taken apart; None, which updates may hold, counts as a leaf."""

  leaves: list[Any]
  treedef: jax.tree_util.PyTreeDef

  @property
  def tree(self) -> Any:
    """The tree."""
    return self.treedef.unflatten(self.leaves)

  def path(self, index: int) -> str:
    """The path of one leaf, as `['layer']['kernel']`."""
    found = jax.tree.leaves_with_path(self.tree, is_leaf=_is_none)
    return jax.tree_util.keystr(plain(found[index][0]))

  def map_with_path(self, function: Callable[[Any, Any], Any]) -> list[Any]:
    """`function(path, leaf)` of every leaf; None for None."""
    found = jax.tree.leaves_with_path(self.tree, is_leaf=_is_none)
    return [
      None if leaf is None else function(path, leaf) for path, leaf in found
    ]

  def align(self, name: str, tree: Any) -> list[Any]:
    """The parts of `tree` where this one has leaves; for None, as many None."""
    if tree is None:
      return [None] * len(self.leaves)
    try:
      return self.treedef.flatten_up_to(tree)
    except ValueError as e:
      raise ValueError(
        f'{name} must have the structure of the updates: {e}'
      ) from None

  def unflatten(self, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return self.treedef.unflatten(leaves)


def plain(path: tuple[Any, ...]) -> tuple[Any, ...]:
  """The path of a leaf, without the attribute `value` of NNX's variables.

  A dictionary's key of that name stays.
  """
  is_variable = path and path[-1] == jax.tree_util.GetAttrKey('value')
  return path[:-1] if is_variable else path


def path_name(path: tuple[Any, ...]) -> str:
  """The path of a leaf, as `layer/kernel`."""
  return jax.tree_util.keystr(plain(path), simple=True, separator='/')


def flatten(tree: Any) -> Flat:
  """Takes a tree apart, with None as a leaf."""
  return Flat(*jax.tree.flatten(tree, is_leaf=_is_none))


def check_arrays(name: str, flat: Flat) -> None:
  """Raises TypeError for the first leaf that is no array and no number."""
  for i, leaf in enumerate(flat.leaves):
    is_array = hasattr(leaf, 'shape') and hasattr(leaf, 'dtype')
    if (
      leaf is not None
      and not is_array
      and not isinstance(leaf, int | float | complex)
    ):
      raise TypeError(
        f'{name} must be a pytree of arrays, got {leaf!r} for '
        f'{name}{flat.path(i)}. Leave such leaves out, for example with '
        'eqx.filter(model, eqx.is_inexact_array) or nnx.Param.'
      )


def check_floating(
  owner: str, name: str, flat: Flat, *, or_complex: bool = False
) -> None:
  """Raises TypeError for the first leaf that is not floating (or complex).

  The message says that `owner` takes such a tree, and calls it `name`.
  """
  kind = jnp.inexact if or_complex else jnp.floating
  words = 'floating or complex' if or_complex else 'floating'
  check_arrays(name, flat)
  for i, leaf in enumerate(flat.leaves):
    if leaf is None:
      continue
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, kind):
      raise TypeError(
        f'{owner} takes {words} {name}, got {name}{flat.path(i)} of dtype '
        f'{dtype}. Leave such leaves out with optax.masked or optax.partition.'
      )


def is_callable_of_params(tree: Any) -> bool:
  """Whether `tree` is to be called, told as `optax.masked` tells it.

  A pytree may itself be callable, as a module is.
  """
  found = [callable(leaf) for leaf in jax.tree.leaves(tree)]
  return bool(found) and all(found)


def spread(
  prefix: Any, flat: Flat, is_leaf: Callable[[Any], bool] = _is_none
) -> list[Any]:
  """The leaves of a prefix of a tree, each as often as it has leaves there.

  What stands in for a masked part of the params, `optax.MaskedNode`, gives
  None.
  """
  if not flat.leaves:
    # Nothing to align: an empty tree, or the placeholder that
    # `optax.tree.map_params` passes for the params.
    return []
  masked = lambda x: isinstance(x, optax.MaskedNode)
  values: list[Any] = []

  def fill(value: Any, part: Any) -> None:
    count = len(jax.tree.leaves(part, is_leaf=_is_none))
    values.extend([None if masked(value) else value] * count)

  stop = lambda x: is_leaf(x) or masked(x)
  jax.tree.map(fill, prefix, flat.tree, is_leaf=stop)
  return values


def broadcast(
  name: str,
  prefix: Any | Callable[[Any], Any],
  flat: Flat,
  is_leaf: Callable[[Any], bool] = _is_none,
) -> list[Any]:
  """A value for every leaf, from a pytree (prefix) or a callable of the params.

  `flat` has the params, or updates that stand for them, and `is_leaf` says what
  counts as one value. ValueError says that `name` is no prefix.
  """
  if flat.leaves and is_callable_of_params(prefix):
    prefix = prefix(flat.tree)
  try:
    return spread(prefix, flat, is_leaf)
  except (ValueError, TypeError) as e:
    raise ValueError(
      f'{name} must be a pytree with the structure of the params or a prefix '
      f'of it, or a callable of the params: {e}'
    ) from None


def check_mask(name: str, mask_: Any) -> None:
  """Raises TypeError for a scalar, which can only be a mask by mistake.

  `optax.inject_hyperparams` takes every callable for a schedule; a mask
  function called with a count returns a scalar, which as a mask would quietly
  take all leaves or none.
  """
  scalar = jax.tree_util.all_leaves([mask_]) and not callable(mask_)
  if scalar and mask_ is not None:
    raise TypeError(
      f'{name} must be a pytree of bools or a callable of the params, got '
      f'the scalar {mask_!r}. Under optax.inject_hyperparams, which takes a '
      f"callable for a schedule, pass static_args='{name}'."
    )


def mask(name: str, mask_: Any, flat: Flat) -> list[bool]:
  """Which leaves a mask takes, as in `optax.masked`; None for all."""
  if mask_ is None:
    return [True] * len(flat.leaves)
  values = broadcast(name, mask_, flat)
  for value, leaf in zip(values, flat.leaves, strict=True):
    if leaf is not None and not isinstance(value, (bool, np.bool_)):
      raise TypeError(
        f'the leaves of {name} must be Python bools, known before the update '
        f'is compiled, got {value!r}.'
      )
  return [bool(value) for value in values]


def labels(name: str, groups: Any, flat: Flat) -> list[Hashable]:
  """The label of each leaf, as in `optax.partition`; one for all if None."""
  if groups is None:
    return [0] * len(flat.leaves)
  values = broadcast(name, groups, flat)
  for label in values:
    try:
      hash(label)
    except TypeError:
      raise TypeError(
        f'{name} must be labels that can be hashed, such as strings or '
        f'numbers, got {label!r}.'
      ) from None
  return values


def positive_numbers(name: str, numbers: Any, flat: Flat) -> list[Any]:
  """A number > 0 for each leaf."""
  values = broadcast(name, numbers, flat)
  if is_callable_of_params(numbers):
    # Those of a pytree were checked when it was given.
    for i, (leaf, value) in enumerate(zip(flat.leaves, values, strict=True)):
      if leaf is not None:
        _numbers.POSITIVE.check(f'{name} of params{flat.path(i)}', value)
  return values


# Leading axes that index independent tensors.


def check_stacked_axes(stacked_axes: Any) -> None:
  """Raises TypeError or ValueError for what cannot be `stacked_axes`."""
  if stacked_axes is None or is_callable_of_params(stacked_axes):
    return
  for value in jax.tree.leaves(stacked_axes):
    _numbers.check_integer('stacked_axes', value, 0)


def stacked(stacked_axes: Any, flat: Flat) -> list[int]:
  """How many leading axes of each leaf are stacked."""
  if stacked_axes is None:
    return [0] * len(flat.leaves)
  if is_callable_of_params(stacked_axes):
    values = flat.map_with_path(stacked_axes)
  else:
    values = broadcast('stacked_axes', stacked_axes, flat)
  for i, (value, leaf) in enumerate(zip(values, flat.leaves, strict=True)):
    if leaf is None:
      continue
    _numbers.check_integer('stacked_axes', value, 0)
    if value > jnp.ndim(leaf):
      raise ValueError(
        f'stacked_axes must be at most the number of axes of a leaf, got '
        f'{value} for params{flat.path(i)} of shape {jnp.shape(leaf)}.'
      )
  return [
    0 if leaf is None else value
    for value, leaf in zip(values, flat.leaves, strict=True)
  ]


def over_slices(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
  """`function` for every slice of arrays with `axes` stacked axes."""
  for _ in range(axes):
    function = jax.vmap(function)
  return function


# Mesh axes over which leaves are split inside `shard_map`.


def check_axis_name(axis_name: Any) -> None:
  """Raises TypeError for what cannot be `axis_name`."""
  if axis_name is None or is_callable_of_params(axis_name):
    return
  for value in jax.tree.leaves(axis_name, is_leaf=is_names):
    _names(value)


def axis_names(axis_name: Any, flat: Flat) -> list[tuple[str, ...] | None]:
  """The mesh axes over which each leaf is split; None for none."""
  values: Sequence[Any]
  if is_names(axis_name):
    values = [axis_name] * len(flat.leaves)
  elif is_callable_of_params(axis_name):
    values = flat.map_with_path(axis_name)
  else:
    values = broadcast('axis_name', axis_name, flat, is_names)
  return [_names(value) for value in values]


def is_names(value: Any) -> bool:
  """Whether this is one axis name, several, or None for none."""
  if value is None or isinstance(value, str):
    return True
  return isinstance(value, (tuple, list)) and all(
    isinstance(name, str) for name in value
  )


def _names(value: Any) -> tuple[str, ...] | None:
  if not is_names(value):
    raise TypeError(
      'axis_name must be the name of a mesh axis, a tuple of names, a pytree '
      '(prefix) of such, or a callable (path, leaf) -> name, got '
      f'{value!r}.'
    )
  if isinstance(value, str):
    return (value,)
  return tuple(value) if value else None
