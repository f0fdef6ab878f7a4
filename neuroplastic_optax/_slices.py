"""Which parts of a leaf are tensors of their own, and where the rest is.

`stacked_axes` says how many leading axes of a leaf index independent tensors;
`axis_name` over which mesh axes a tensor is split inside `shard_map`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees


def check_stacked_axes(stacked_axes: Any) -> None:
  """Refuses what cannot say how many axes are stacked.

  Raises:
    TypeError: neither an integer, a pytree of integers, a callable nor None.
    ValueError: a negative integer.
  """
  if stacked_axes is None or _trees.is_callable_of_params(stacked_axes):
    return
  for value in jax.tree.leaves(stacked_axes):
    _check_axes(value)


def _check_axes(value: Any) -> None:
  message = (
    'stacked_axes must be an integer ≥ 0, a pytree (prefix) of such, or a '
    f'callable (path, leaf) -> int, got {value!r}.'
  )
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    if isinstance(value, jax.Array):
      message += _numbers.STATIC.format('stacked_axes')
    raise TypeError(message)
  if value < 0:
    raise ValueError(message)


def stacked(stacked_axes: Any, flat: _trees.Flat) -> list[int]:
  """How many leading axes of each leaf are stacked.

  Raises:
    TypeError: an entry is no integer.
    ValueError: it is negative, or more than the leaf has axes.
  """
  if stacked_axes is None:
    return [0] * len(flat.leaves)
  if _trees.is_callable_of_params(stacked_axes):
    values = flat.map_with_path(stacked_axes)
  else:
    values = _trees.broadcast('stacked_axes', stacked_axes, flat)
  axes = []
  for i, (value, leaf) in enumerate(zip(values, flat.leaves, strict=True)):
    if leaf is None:
      axes.append(0)
      continue
    _check_axes(value)
    if value > jnp.ndim(leaf):
      raise ValueError(
        f'stacked_axes must be at most the number of axes of a leaf, got '
        f'{value} for params{flat.path(i)} of shape {jnp.shape(leaf)}.'
      )
    axes.append(value)
  return axes


def check_axis_name(axis_name: Any) -> None:
  """Refuses what names no mesh axis.

  Raises:
    TypeError: neither a name, several, a pytree of such, a callable nor None.
  """
  if axis_name is None or _trees.is_callable_of_params(axis_name):
    return
  for value in jax.tree.leaves(axis_name, is_leaf=is_names):
    _check_names(value)


def _check_names(value: Any) -> None:
  if not is_names(value):
    raise TypeError(
      'axis_name must be the name of a mesh axis, a tuple of names, a pytree '
      '(prefix) of such, or a callable (path, leaf) -> name, got '
      f'{value!r}.'
    )


def is_names(value: Any) -> bool:
  """Whether this is one axis name, several, or None for none."""
  if value is None or isinstance(value, str):
    return True
  return isinstance(value, (tuple, list)) and all(
    isinstance(name, str) for name in value
  )


def axis_names(axis_name: Any, flat: _trees.Flat) -> list[Any]:
  """The mesh axes over which each leaf is split: a tuple, None for none.

  Raises:
    TypeError: a callable returns no name.
    ValueError: `axis_name` is no prefix of the tree.
  """
  if is_names(axis_name):
    values: Sequence[Any] = [axis_name] * len(flat.leaves)
  elif _trees.is_callable_of_params(axis_name):
    values = flat.map_with_path(axis_name)
    for value in values:
      _check_names(value)
  else:
    with _trees.refusing('axis_name'):
      values = _trees.spread(axis_name, flat, is_leaf=is_names)
  return [_names(value) for value in values]


def _names(value: Any) -> tuple[str, ...] | None:
  if isinstance(value, str):
    return (value,)
  return tuple(value) if value else None


def over_slices(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
  """`function` for every slice of arrays with `axes` stacked axes."""
  for _ in range(axes):
    function = jax.vmap(function)
  return function
