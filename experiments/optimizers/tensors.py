"""Functions of one tensor, for every tensor of a tree."""

from collections.abc import Callable
from typing import Any

import jax
import optax

# How many leading axes of a leaf index tensors, from its path and the leaf.
StackedAxes = Callable[[Any, Any], int] | None


def per_tensor(
  function: Callable[..., jax.Array],
  stacked_axes: StackedAxes,
  *trees: optax.Updates,
) -> optax.Updates:
  """A function of tensors, for every leaf, and every slice of a stacked one.

  Args:
    function: of one array of each tree.
    stacked_axes: which leaves are stacked; None for none.
    *trees: of the same structure.

  Returns:
    A tree of what the function returns.
  """

  def of_leaf(path: Any, *leaves: jax.Array) -> jax.Array:
    mapped = function
    for _ in range(stacked_axes(path, leaves[0]) if stacked_axes else 0):
      mapped = jax.vmap(mapped)
    return mapped(*leaves)

  return jax.tree.map_with_path(of_leaf, *trees)
