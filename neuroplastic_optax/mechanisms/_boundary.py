"""The extra argument `new_task`: a new task begins with this update."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def begins(owner: str, new_task: Any, count: jax.Array) -> Any:
  """Whether a boundary comes before this update.

  Args:
    owner: the mechanism, for the message.
    new_task: the extra argument.
    count: of the updates before. At the very first one there is no task before
      this one, and `new_task` is ignored.

  Returns:
    False where that is known before the update is compiled, else a bool array.

  Raises:
    TypeError: `new_task` is neither a bool nor an array of one.
  """
  if isinstance(new_task, bool | np.bool_):
    return count > 0 if new_task else False
  if not isinstance(new_task, jax.Array | np.ndarray) or (
    new_task.dtype != jnp.bool_ or new_task.ndim
  ):
    raise TypeError(
      f'{owner} takes new_task as a bool or a bool array of shape (), got '
      f'{new_task!r}.'
    )
  return jnp.asarray(new_task) & (count > 0)


def where(boundary: Any, new: jax.Array, old: jax.Array) -> jax.Array:
  """`new` at a boundary, else `old`."""
  return old if boundary is False else jnp.where(boundary, new, old)
