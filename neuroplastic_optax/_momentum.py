"""The base's momentum, found in its state by meaning, not by position.

It is the field `trace` of a state as it is, or the field `mu` divided by
1 - βᵗ, where t is the `count` beside it. A state does not hold β; the base is
asked for it. All of this reaches through `chain`, `masked`, `partition` and
`inject_hyperparams`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees

_FIELDS = ('trace', 'mu')


class _Found(NamedTuple):
  """A state that holds momentum, and the name of the field that does."""

  state: Any
  field: str

  @property
  def tree(self) -> Any:
    return getattr(self.state, self.field)


def _find(state: Any) -> Iterator[_Found]:
  """All states within `state` with a field for momentum, outermost first."""
  if hasattr(state, '_fields'):
    for field in _FIELDS:
      if field in state._fields:
        yield _Found(state, field)
        return
  children: Any = ()
  if isinstance(state, dict):
    children = state.values()
  elif isinstance(state, (tuple, list)):
    children = state
  for child in children:
    yield from _find(child)


def check(
  base_state: optax.OptState,
  flat: _trees.Flat,
  wanted: list[bool],
) -> None:
  """Refuses a base that has no momentum, or more than one, for some leaf.

  Args:
    base_state: the base's state.
    flat: the params.
    wanted: which leaves need momentum.

  Raises:
    ValueError: naming the first such leaf.
  """
  columns = [_trees.spread(found.tree, flat) for found in _find(base_state)]
  for i, leaf in enumerate(flat.leaves):
    if leaf is None or not wanted[i]:
      continue
    count = sum(column[i] is not None for column in columns)
    if count != 1:
      raise ValueError(
        'modulations.Momentum needs a base whose state holds one momentum '
        f'(a field `trace` or `mu`); for params{flat.path(i)} this base has '
        f'{count or "none"}. Pass momentum=, a callable of the state of the '
        'base that returns it.'
      )


def momentum(
  base: optax.GradientTransformationExtraArgs,
  old_state: optax.OptState,
  new_state: optax.OptState,
  flat: _trees.Flat,
  extra_args: dict[str, Any],
) -> list[Any]:
  """m̂ of every leaf.

  Args:
    base: the base.
    old_state: its state before the update.
    new_state: its state after it.
    flat: the updates or params.
    extra_args: what else the base's update got.

  Returns:
    For each leaf an array, or None where the base has no momentum.
  """
  merged: list[Any] = [None] * len(flat.leaves)
  found = list(_find(new_state))
  decays: list[Any] = [None] * len(found)
  if any(each.field == 'mu' for each in found):
    decays = _decays(base, old_state, flat, extra_args)
  for each, decay in zip(found, decays, strict=True):
    for i, leaf in enumerate(_trees.spread(each.tree, flat)):
      if leaf is None:
        continue
      merged[i] = leaf
      if each.field == 'mu':
        steps = each.state.count
        correction = 1 - decay ** jnp.asarray(steps, decay.dtype)
        # It is 0 where the base has counted no step yet, and where it skips
        # this one, as `MultiSteps` does: a `mu` of 1 then stays 1.
        correction = jnp.where(correction > 0, correction, 1.0)
        wide = jnp.promote_types(leaf.dtype, decay.dtype)
        merged[i] = leaf.astype(wide) / correction
  return merged


def _decays(
  base: optax.GradientTransformationExtraArgs,
  state: optax.OptState,
  flat: _trees.Flat,
  extra_args: dict[str, Any],
) -> list[Any]:
  """β of every state that `_find` finds, in its order; None where none is.

  A gradient of 0 turns a `mu` of 1 into β. The base is asked with leaves of
  size one, and with its own counts and hyperparameters, so that schedules and
  `inject_hyperparams` are heard; XLA computes what is constant beforehand.
  """
  dtype = jnp.result_type(float)

  def small(leaf: Any) -> Any:
    return None if leaf is None else jnp.zeros((1,) * jnp.ndim(leaf), dtype)

  params = flat.unflatten([small(leaf) for leaf in flat.leaves])
  probe = base.init(params)

  def keep(ours: Any, theirs: Any) -> Any:
    # Counts and hyperparameters are scalars in both.
    return theirs if jnp.ndim(theirs) == 0 else ours

  probe = jax.tree.map(keep, probe, state)
  probe = _replace(probe, jnp.ones_like)
  _, probe = base.update(params, probe, params, **extra_args)
  decays: list[Any] = []
  for each in _find(probe):
    leaves = jax.tree.leaves(each.tree)
    # A group of `partition` may have no leaves, and then has no momentum.
    if each.field == 'trace' or not leaves:
      decays.append(None)
    else:
      decays.append(leaves[0].reshape(()).astype(dtype))
  return decays


def _replace(state: Any, function: Callable[[Any], Any]) -> Any:
  """The state with `function` mapped over every momentum that `_find` finds."""
  if hasattr(state, '_fields'):  # A NamedTuple, maybe an empty one.
    for field in _FIELDS:
      if field in state._fields:
        new = jax.tree.map(function, getattr(state, field))
        return state._replace(**{field: new})
    return type(state)(*(_replace(child, function) for child in state))
  if isinstance(state, dict):
    return type(state)(
      {key: _replace(child, function) for key, child in state.items()}
    )
  if isinstance(state, (tuple, list)):
    return type(state)(_replace(child, function) for child in state)
  return state
