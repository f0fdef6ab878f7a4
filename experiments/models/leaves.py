"""Tensors of one shape: many, which compile slowly, or one."""

from flax import nnx
import jax.numpy as jnp

from experiments.models.model import ParameterTree
from experiments.models.model import TREES


class Leaves(nnx.Module):
  """So many matrices, and nothing that is done with them."""

  def __init__(self, count: int, size: int):
    self.leaves = nnx.List(
      [nnx.Param(jnp.zeros((size, size))) for _ in range(count)]
    )


def tree(count: int, size: int) -> ParameterTree:
  """So many matrices of size × size elements."""
  return ParameterTree(lambda _: Leaves(count, size))


# A million parameters in one leaf, for the price of noise.
TREES['leaf1m'] = tree(1, 1024)
# 0.8 million parameters in 200 leaves.
TREES['leaves200'] = tree(200, 64)
