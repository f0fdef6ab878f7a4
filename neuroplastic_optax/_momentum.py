"""The base's momentum, found in its state by name, not by position.

It is the field `trace` of a state as it is, or the field `mu` divided by
1 - βᵗ, where t is the `count` beside it, or the `age` of each element. This
reaches through `chain`, `masked`, `partition` and `inject_hyperparams`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types

_FIELDS = ('trace', 'mu')


def _field(state: Any) -> str | None:
  """The name of the field of this very state that holds momentum, if any."""
  return next((x for x in _FIELDS if x in getattr(state, '_fields', ())), None)


def _find(state: _types.OptState) -> list[tuple[Any, str]]:
  """All states within `state` that hold momentum, with the field that does."""
  parts = jax.tree.leaves(state, is_leaf=lambda x: _field(x) is not None)
  return [(part, name) for part in parts if (name := _field(part))]


def check(
  rule: str,
  base_state: _types.OptState,
  params: _trees.Flat,
  inside: list[bool],
) -> None:
  """Refuses a base with no momentum, or more than one, for a leaf `inside`."""
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


def momenta(
  base_state: _types.OptState, flat: _trees.Flat, decay: Any
) -> list[Any]:
  """m̂ of every leaf, None where there is none; `decay` is β, for `mu`."""
  merged: list[Any] = [None] * len(flat.leaves)
  for state, field in _find(base_state):
    leaves = _trees.spread(getattr(state, field), flat)
    if hasattr(state, 'age'):
      counts = _trees.spread(state.age, flat)
    else:
      counts = [getattr(state, 'count', None)] * len(leaves)
    for i, (leaf, count) in enumerate(zip(leaves, counts, strict=True)):
      if leaf is not None:
        merged[i] = leaf if field == 'trace' else _debiased(leaf, decay, count)
  return merged


def _debiased(mu: jax.Array, decay: Any, count: Any) -> jax.Array:
  """mu / (1 - βᵗ)."""
  dtype = jnp.result_type(float)
  decay = jnp.asarray(_numbers.DECAY.cast(decay, dtype), dtype)
  correction = 1 - decay ** jnp.asarray(count, dtype)
  # It is 0 where the base has counted no step yet, and where it skips this
  # one, as `MultiSteps` does: a `mu` of 1 then stays 1.
  correction = jnp.where(correction > 0, correction, 1.0)
  dtype = _arrays.promoted(mu.dtype, dtype)
  return mu.astype(dtype) / correction.astype(dtype)
