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
      `get_diagnostics`. None if diagnostics are off.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  activity: _types.Updates | None
  memory_mu: _types.Updates | None
  memory_nu: _types.Updates | None
  base: _types.OptState
  diagnostics: Any
