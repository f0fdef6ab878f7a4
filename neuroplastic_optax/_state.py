"""The state of the transformation."""

from typing import Any, NamedTuple

import jax
import optax


class NeuroplasticState(NamedTuple):
  """The state of `neuroplastic`.

  Attributes:
    count: updates so far, shape (), dtype int32.
    activity: a, the average of |g|: a tree like the params, real, of
      `state_dtype`; None in gradient-only mode.
    memory_mu: m, the average of g: likewise, but complex where the params are.
    memory_nu: v, the average of |g|²: likewise, real.
    base: the state of the base transformation.
    diagnostics: the last update's statistics, for `get_diagnostics`; None when
      they are off.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  activity: optax.Updates | None
  memory_mu: optax.Updates | None
  memory_nu: optax.Updates | None
  base: optax.OptState
  diagnostics: Any
