"""Scopes: the leaves on which a rule or the controller acts.

A scope is a callable of the params that returns a pytree of bools. `thirds`
returns a pytree of numbers instead, for `Homeostasis.target_rms_scale`. The
path of a leaf is written with slashes, as in `block1/conv/kernel`; of an NNX
variable, without its attribute `value`.

The published scopes (Jiang et al., arXiv:2604.26297) depend on the order of the
leaves in the model: `classifier`, `early_blocks`, `late_blocks` and `thirds`.
JAX sorts the keys of dictionaries and so loses that order. You can give it as a
list of path prefixes. Leaves with the same prefix, and all leaves without a
list, are in natural order: `layer2` comes before `layer10`.
"""

from collections.abc import Callable, Sequence
import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types

__all__ = (
  'classifier',
  'convolutional',
  'early_blocks',
  'late_blocks',
  'matching',
  'thirds',
)
__docformat__ = 'google'

Scope = Callable[[_types.Params], Any]


def matching(regex: str) -> Scope:
  """The leaves whose path matches a regular expression somewhere.

  Args:
    regex: a regular expression, searched for in the path with `re.search`.

  Returns:
    A callable of the params that returns a pytree of bools.

  Raises:
    TypeError: `regex` is not a string.
    ValueError: `regex` is not a regular expression, or the scope was called
      with params of which it matches no leaf.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import scopes
    >>> params = {'dense': {'bias': jnp.zeros(2), 'kernel': jnp.zeros((2, 2))}}
    >>> scopes.matching('kernel$')(params)
    {'dense': {'bias': False, 'kernel': True}}
  """
  if not isinstance(regex, str):
    raise TypeError(f'regex must be a string, got {regex!r}.')
  try:
    pattern = re.compile(regex)
  except re.error as e:
    raise ValueError(
      f'regex must be a regular expression, got {regex!r}: {e}.'
    ) from None

  def scope(params: _types.Params) -> Any:
    _check_matches(pattern, params)
    return jax.tree.map_with_path(
      lambda path, _: pattern.search(_trees.path_name(path)) is not None, params
    )

  return scope


_SHOWN = 6  # How many paths an error lists.


def _check_matches(pattern: re.Pattern[str], params: _types.Params) -> None:
  """Refuses a pattern that matches no path, which can only be a mistake.

  A leaf counts where `optax.masked` or `optax.partition` has masked it too, and
  where None stands for it, so that one scope can serve parts of a model.
  """
  absent = lambda x: x is None or isinstance(x, optax.MaskedNode)
  found = jax.tree.leaves_with_path(params, is_leaf=absent)
  paths = [_trees.path_name(path) for path, _ in found]
  if not paths or any(map(pattern.search, paths)):
    return
  shown = ', '.join(map(repr, paths[:_SHOWN]))
  if len(paths) > _SHOWN:
    shown += f' and {len(paths) - _SHOWN} more'
  raise ValueError(
    f'scopes.matching({pattern.pattern!r}) must match the path of at least one '
    f'leaf; the paths are {shown}.'
  )


def convolutional(
  params: _types.Params | None = None, *, stacked_axes: int = 0
) -> Any:
  """The kernels of convolutions, which are the leaves of rank 4.

  The function itself is a scope. Call it without params to make a scope for
  params whose leaves have stacked axes.

  Args:
    params: the params; None to get a scope.
    stacked_axes: how many leading axes of a leaf do not count towards its rank.

  Returns:
    A pytree of bools or, without params, a callable of the params that returns
    one.

  Raises:
    TypeError: `stacked_axes` is not an integer, or a leaf is no array.
    ValueError: it is negative.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import modulations, scopes
    >>> scopes.convolutional([jnp.zeros((3, 3, 8, 8)), jnp.zeros(8)])
    [True, False]
    >>> rule = modulations.Gain(scope=scopes.convolutional)
    >>> rule = modulations.Gain(scope=scopes.convolutional(stacked_axes=1))
  """
  _numbers.check_integer('stacked_axes', stacked_axes, 0)
  if params is None:
    return functools.partial(convolutional, stacked_axes=stacked_axes)
  _trees.check_arrays('params', _trees.flatten(params))
  return jax.tree.map(lambda leaf: jnp.ndim(leaf) - stacked_axes == 4, params)


def classifier(order: Sequence[str] | None = None) -> Scope:
  """The last two leaves of the model, such as a kernel and a bias.

  Args:
    order: path prefixes in the model's order; None for natural order.

  Returns:
    A callable of the params that returns a pytree of bools.

  Raises:
    TypeError: `order` is not a sequence of strings.
    ValueError: the scope was called with a leaf that has none of the prefixes.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import scopes
    >>> params = {'head': [jnp.zeros(3), jnp.zeros(3)], 'stem': jnp.zeros(3)}
    >>> scopes.classifier(order=['stem', 'head'])(params)
    {'head': [True, True], 'stem': False}
  """
  return _by_rank(order, lambda rank, count: rank >= count - 2)


def early_blocks(order: Sequence[str] | None = None) -> Scope:
  """The first ⌈n/2⌉ of the n leaves that come before the last two.

  Args:
    order: path prefixes in the model's order; None for natural order.

  Returns:
    A callable of the params that returns a pytree of bools.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import scopes
    >>> scopes.early_blocks()([jnp.zeros(3)] * 5)
    [True, True, False, False, False]
  """
  return _by_rank(order, lambda rank, count: rank < math.ceil(_body(count) / 2))


def late_blocks(order: Sequence[str] | None = None) -> Scope:
  """All but the first ⌊n/2⌋ of the n leaves that come before the last two.

  Args:
    order: path prefixes in the model's order; None for natural order.

  Returns:
    A callable of the params that returns a pytree of bools.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import scopes
    >>> scopes.late_blocks()([jnp.zeros(3)] * 5)
    [False, True, True, False, False]
  """
  return _by_rank(
    order, lambda rank, count: _body(count) // 2 <= rank < _body(count)
  )


def thirds(
  early: _types.ArrayLike,
  middle: _types.ArrayLike,
  late: _types.ArrayLike,
  order: Sequence[str] | None = None,
) -> Scope:
  """One number for each third of the N leaves, cut at ⌈N/3⌉ and ⌈2N/3⌉.

  Args:
    early: the number > 0 for the leaves of the first third.
    middle: the number > 0 for the leaves of the second third.
    late: the number > 0 for the leaves of the last third.
    order: path prefixes in the model's order; None for natural order.

  Returns:
    A callable of the params that returns a pytree of the numbers.

  Raises:
    TypeError: a number has the wrong type.
    ValueError: a number is out of range.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import Homeostasis, scopes
    >>> scale = scopes.thirds(0.5, 1.0, 2.0)
    >>> scale([jnp.zeros(3)] * 4)
    [0.5, 0.5, 1.0, 2.0]
    >>> homeostasis = Homeostasis(target_rms_scale=scale)
  """
  for name, value in (('early', early), ('middle', middle), ('late', late)):
    _numbers.POSITIVE.check(name, value)

  def pick(rank: int, count: int) -> Any:
    if rank < math.ceil(count / 3):
      return early
    return middle if rank < math.ceil(2 * count / 3) else late

  return _by_rank(order, pick)


def _body(count: int) -> int:
  """How many leaves come before the classifier's."""
  return max(count - 2, 0)


def _by_rank(
  order: Sequence[str] | None, value: Callable[[int, int], Any]
) -> Scope:
  """A callable of the params: for each leaf, `value(rank, count)`."""
  is_list = isinstance(order, Sequence) and not isinstance(order, str)
  if order is not None and not (
    is_list and all(isinstance(prefix, str) for prefix in order)
  ):
    raise TypeError(
      f'order must be a list of path prefixes or None, got {order!r}.'
    )

  def scope(params: _types.Params) -> Any:
    paths, treedef = jax.tree.flatten_with_path(params)
    names = [_trees.path_name(path) for path, _ in paths]
    ordered = sorted(names, key=lambda name: _place(name, order))
    rank = {name: i for i, name in enumerate(ordered)}
    return jax.tree.unflatten(
      treedef, [value(rank[n], len(names)) for n in names]
    )

  return scope


def _place(name: str, order: Sequence[str] | None) -> tuple[Any, ...]:
  """What to sort a path by: its prefix's place, then its natural order."""
  natural = tuple(
    tuple((0, int(s), '') if s.isdigit() else (1, 0, s) for s in split if s)
    for split in (re.split(r'(\d+)', part) for part in name.split('/'))
  )
  if order is None:
    return natural
  for place, prefix in enumerate(order):
    if name == prefix or name.startswith(prefix.rstrip('/') + '/'):
      return (place, natural)
  raise ValueError(
    f'order must have a prefix for every leaf, got {list(order)!r}, '
    f'of which none starts {name!r}.'
  )
