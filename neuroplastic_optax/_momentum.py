"""The base's momentum, found in its state by meaning, not by position.

It is the field `trace` of a state as it is, or the field `mu` divided by
1 - βᵗ, where t is the `count` beside it. A state does not hold β; the base is
asked for it. All of this reaches through `chain`, `masked`, `partition` and
`inject_hyperparams`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _dtypes
from neuroplastic_optax import _trees
from neuroplastic_optax import _types

_FIELDS = ('trace', 'mu')


class Step(NamedTuple):
  """One update that the base has made."""

  base: optax.GradientTransformationExtraArgs
  old_state: _types.OptState
  new_state: _types.OptState
  updates: _trees.Flat  # What the base was given, or a tree like it.
  extra_args: dict[str, Any]


def _field(state: Any) -> str | None:
  """The name of the field of this very state that holds momentum, if any."""
  return next((x for x in _FIELDS if x in getattr(state, '_fields', ())), None)


def _find(state: _types.OptState) -> list[tuple[Any, str]]:
  """All states within `state` that hold momentum, with the field that does."""
  parts = jax.tree.leaves(state, is_leaf=lambda x: _field(x) is not None)
  return [(part, name) for part in parts if (name := _field(part))]


def _replace(state: Any, function: Callable[[Any], Any]) -> Any:
  """The state with `function` mapped over every momentum that `_find` finds."""

  def replace(part: Any) -> Any:
    name = _field(part)
    if name is None:
      return part
    return part._replace(**{name: jax.tree.map(function, getattr(part, name))})

  return jax.tree.map(replace, state, is_leaf=lambda x: _field(x) is not None)


def check(
  rule: str,
  base_state: _types.OptState,
  params: _trees.Flat,
  inside: list[bool],
) -> None:
  """Refuses a base that has no momentum, or more than one, for some leaf.

  Args:
    rule: the name of the rule that needs momentum, for the message.
    base_state: the base's state.
    params: the params.
    inside: which leaves need momentum.

  Raises:
    ValueError: naming the first such leaf.
  """
  columns = [
    _trees.spread(getattr(state, field), params)
    for state, field in _find(base_state)
  ]
  for i, leaf in enumerate(params.leaves):
    if leaf is None or not inside[i]:
      continue
    count = sum(column[i] is not None for column in columns)
    if count != 1:
      raise ValueError(
        f'{rule} needs a base whose state holds one momentum (a field `trace` '
        f'or `mu`); for params{params.path(i)} this base has '
        f'{count or "none"}. Pass modulations.Momentum(momentum=...), a '
        'callable of the state of the base that returns the momentum.'
      )


def momenta(step: Step) -> list[Any]:
  """m̂ of every leaf: an array, or None where the base has no momentum."""
  merged: list[Any] = [None] * len(step.updates.leaves)
  found = _find(step.new_state)
  decays: list[Any] = [None] * len(found)
  if any(field == 'mu' for _, field in found):
    decays = _decays(step)
  for (state, field), decay in zip(found, decays, strict=True):
    spread = _trees.spread(getattr(state, field), step.updates)
    for i, leaf in enumerate(spread):
      if leaf is not None:
        merged[i] = (
          leaf if field == 'trace' else _debiased(leaf, decay, state.count)
        )
  return merged


def _debiased(mu: jax.Array, decay: jax.Array, count: Any) -> jax.Array:
  """mu / (1 - βᵗ)."""
  correction = 1 - decay ** jnp.asarray(count, decay.dtype)
  # It is 0 where the base has counted no step yet, and where it skips this
  # one, as `MultiSteps` does: a `mu` of 1 then stays 1.
  correction = jnp.where(correction > 0, correction, 1.0)
  dtype = _dtypes.promoted(mu.dtype, decay.dtype)
  return mu.astype(dtype) / correction.astype(dtype)


def _decays(step: Step) -> list[Any]:
  """β of every state that `_find` finds, in its order; None where none is.

  A gradient of 0 turns a `mu` of 1 into β. The base is asked with leaves of
  size one, and with its own counts and hyperparameters, so that schedules and
  `inject_hyperparams` are heard; XLA computes what is constant beforehand.
  """
  dtype = jnp.result_type(float)

  def small(leaf: Any) -> Any:
    return None if leaf is None else jnp.zeros((1,) * jnp.ndim(leaf), dtype)

  zeros = step.updates.unflatten([small(x) for x in step.updates.leaves])
  probe = step.base.init(zeros)

  def keep(ours: Any, theirs: Any) -> Any:
    # Counts and hyperparameters are scalars in both.
    return theirs if jnp.ndim(theirs) == 0 else ours

  probe = jax.tree.map(keep, probe, step.old_state)
  probe = _replace(probe, jnp.ones_like)
  _, probe = step.base.update(zeros, probe, zeros, **step.extra_args)
  decays: list[Any] = []
  for state, field in _find(probe):
    leaves = jax.tree.leaves(getattr(state, field))
    # A group of `partition` may have no leaves, and then has no momentum.
    if field == 'trace' or not leaves:
      decays.append(None)
    else:
      decays.append(leaves[0].reshape(()).astype(dtype))
  return decays
