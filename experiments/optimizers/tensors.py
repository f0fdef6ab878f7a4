"""Functions of one tensor, for every tensor of a tree."""

from collections.abc import Callable
from typing import Any

import jax
import optax

# From a path and its leaf, how many leading axes index tensors; None for none.
StackedAxes = Callable[[Any, Any], int] | None


def per_tensor(
  function: Callable[..., jax.Array],
  stacked_axes: StackedAxes,
  *trees: optax.Updates,
) -> optax.Updates:
  """A function of tensors, for every leaf, and every slice of a stacked one.

  The function takes one array of each tree.
  """

  def of_leaf(path: Any, *leaves: jax.Array) -> jax.Array:
    mapped = function
    for _ in range(stacked_axes(path, leaves[0]) if stacked_axes else 0):
      mapped = jax.vmap(mapped)
    return mapped(*leaves)

  return jax.tree.map_with_path(of_leaf, *trees)
