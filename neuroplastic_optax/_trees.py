"""Tree plumbing: the only place that knows how leaves are found and aligned."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_is_none = lambda x: x is None


@dataclasses.dataclass(frozen=True)
class Flat:
  """A tree taken apart; None, which updates may hold, counts as a leaf.

  Attributes:
    leaves: the leaves, None among them.
    treedef: their structure.
  """

  leaves: list[Any]
  treedef: jax.tree_util.PyTreeDef

  @property
  def tree(self) -> Any:
    """The tree."""
    return self.treedef.unflatten(self.leaves)

  def path(self, index: int) -> str:
    """The path of one leaf, as `['layer']['kernel']`."""
    found = jax.tree.leaves_with_path(self.tree, is_leaf=_is_none)
    return jax.tree_util.keystr(found[index][0])

  def map_with_path(self, function: Callable[[Any, Any], Any]) -> list[Any]:
    """`function(path, leaf)` of every leaf; None for None."""
    found = jax.tree.leaves_with_path(self.tree, is_leaf=_is_none)
    return [
      None if leaf is None else function(path, leaf) for path, leaf in found
    ]

  def align(self, name: str, tree: Any) -> list[Any]:
    """The parts of `tree` where this one has leaves.

    Args:
      name: what `tree` is, for the message.
      tree: a tree of this structure; None for nothing at all.

    Returns:
      A list as long as `leaves`.

    Raises:
      ValueError: the structures differ.
    """
    if tree is None:
      return [None] * len(self.leaves)
    try:
      return self.treedef.flatten_up_to(tree)
    except ValueError as e:
      raise ValueError(
        f'{name} must have the structure of the updates: {e}'
      ) from None

  def unflatten(self, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return self.treedef.unflatten(leaves)


def flatten(tree: Any) -> Flat:
  """Takes a tree apart, with None as a leaf."""
  return Flat(*jax.tree.flatten(tree, is_leaf=_is_none))


def is_callable_of_params(tree: Any) -> bool:
  """Whether `tree` is to be called, told as `optax.masked` tells it.

  A pytree may itself be callable, as a module is.
  """
  found = [callable(leaf) for leaf in jax.tree.leaves(tree)]
  return bool(found) and all(found)


def broadcast(
  name: str, prefix: Any | Callable[[Any], Any], flat: Flat
) -> list[Any]:
  """A value for every leaf, from a pytree (prefix) or a callable.

  Args:
    name: the argument's name, for the message.
    prefix: a pytree with the structure of the params or a prefix of it, or a
      callable that returns one, given the params.
    flat: the params, or updates that stand for them.

  Returns:
    A list as long as `flat.leaves`.

  Raises:
    ValueError: `prefix` is no prefix of the tree.
  """
  if flat.leaves and is_callable_of_params(prefix):
    prefix = prefix(flat.tree)
  with refusing(name):
    return spread(prefix, flat)


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
  """Around `spread`: its errors name the argument that does not fit."""
  try:
    yield
  except (ValueError, TypeError) as e:
    raise ValueError(
      f'{name} must be a pytree with the structure of the params or a prefix '
      f'of it, or a callable of the params: {e}'
    ) from None


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
  stop = lambda x: is_leaf(x) or isinstance(x, optax.MaskedNode)

  def fill(value: Any, part: Any) -> Any:
    held = _Leaf(None if isinstance(value, optax.MaskedNode) else value)
    return jax.tree.map(lambda _: held, part, is_leaf=_is_none)

  full = jax.tree.map(fill, prefix, flat.tree, is_leaf=stop)
  return [held.value for held in jax.tree.leaves(full)]


@dataclasses.dataclass(frozen=True)
class _Leaf:
  """Holds a value, whatever it is, as one leaf."""

  value: Any


def mask(
  name: str, mask_: Any | Callable[[Any], Any], flat: Flat
) -> list[bool]:
  """Which leaves a mask takes.

  Args:
    name: the argument's name, for the message.
    mask_: as in `optax.masked`; None for all.
    flat: the params, or updates that stand for them.

  Returns:
    A Python bool for every leaf.

  Raises:
    TypeError: a leaf of the mask is no bool.
    ValueError: it is no prefix of the tree.
  """
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


def check_mask(name: str, mask_: Any) -> None:
  """Refuses what can only be a mask by mistake.

  `optax.inject_hyperparams` takes every callable for a schedule; a mask
  function called with a count returns a scalar, which as a mask would quietly
  take all leaves or none.

  Args:
    name: the argument's name, for the message.
    mask_: a pytree of bools, a callable of the params, or None.

  Raises:
    TypeError: `mask_` is a scalar.
  """
  scalar = jax.tree_util.all_leaves([mask_]) and not callable(mask_)
  if scalar and mask_ is not None:
    raise TypeError(
      f'{name} must be a pytree of bools or a callable of the params, got '
      f'the scalar {mask_!r}. Under optax.inject_hyperparams, which takes a '
      f"callable for a schedule, pass static_args='{name}'."
    )


def check_arrays(name: str, flat: Flat) -> None:
  """Refuses leaves that are neither arrays nor numbers.

  Args:
    name: what the tree is, for the message.
    flat: the tree.

  Raises:
    TypeError: naming the first such leaf.
  """
  for i, leaf in enumerate(flat.leaves):
    is_array = hasattr(leaf, 'shape') and hasattr(leaf, 'dtype')
    if leaf is not None and not is_array and not isinstance(leaf, int | float):
      raise TypeError(
        f'{name} must be a pytree of arrays, got {leaf!r} for '
        f'{name}{flat.path(i)}.'
      )


def check_floating(owner: str, name: str, flat: Flat) -> None:
  """Refuses leaves that are not floating, complex ones among them.

  Args:
    owner: what takes the tree, for the message.
    name: what the tree is.
    flat: the tree.

  Raises:
    TypeError: naming the first such leaf.
  """
  _check_kind(owner, name, flat, jnp.floating, 'floating')


def check_inexact(name: str, flat: Flat) -> None:
  """Refuses leaves that are neither floating nor complex.

  Args:
    name: what the tree is, for the message.
    flat: the tree.

  Raises:
    TypeError: naming the first such leaf.
  """
  _check_kind('neuroplastic', name, flat, jnp.inexact, 'floating or complex')


def _check_kind(
  owner: str, name: str, flat: Flat, kind: Any, words: str
) -> None:
  for i, leaf in enumerate(flat.leaves):
    if leaf is None:
      continue
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, kind):
      raise TypeError(
        f'{owner} takes {words} {name}, got {name}{flat.path(i)} of dtype '
        f'{dtype}. Leave such leaves out with optax.masked or optax.partition.'
      )
