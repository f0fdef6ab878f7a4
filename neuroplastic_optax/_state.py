"""The state of the transformation."""

from typing import Any, NamedTuple

import jax

from neuroplastic_optax import _types


class NeuroplasticState(NamedTuple):
  """The state of `neuroplastic`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    activity: a, the average of |g|: a real tree like the params, of
      `state_dtype`. None in gradient-only mode.
    memory_mu: m, the average of g: a tree like the params, of `state_dtype`,
      complex where the params are. None in gradient-only mode.
    memory_nu: v, the average of |g|²: a real tree like the params, of
      `state_dtype`. None in gradient-only mode.
    base: the state of the base.
    diagnostics: the statistics of the last update, to be read with
      `get_diagnostics`: a `Statistics` or a `PerLeaf`. None if diagnostics are
      off.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  activity: _types.Updates | None
  memory_mu: _types.Updates | None
  memory_nu: _types.Updates | None
  base: _types.OptState
  diagnostics: Any


def only_state(
  opt_state: _types.OptState, kind: type[Any], reader: str, owner: str
) -> Any:
  """The one state of this class within a state, or a ValueError.

  Its message names the function that reads it and the transformation that makes
  it, `reader` and `owner`.
  """
  is_kind = lambda x: isinstance(x, kind)
  leaves = jax.tree.leaves_with_path(opt_state, is_leaf=is_kind)
  found = {jax.tree_util.keystr(path): x for path, x in leaves if is_kind(x)}
  if not found:
    raise ValueError(
      f'opt_state must hold one {kind.__name__}, it holds 0: pass the state of '
      f'an optimizer that has {owner} in it.'
    )
  if len(found) > 1:
    calls = [f'{reader}(opt_state{path})' for path in found]
    raise ValueError(
      f'opt_state must hold one {kind.__name__}, it holds {len(found)}: pass '
      f'the one that you want, by {" or ".join(calls)}.'
    )
  (state,) = found.values()
  return state
