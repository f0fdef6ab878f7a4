"""The parameter trees whose cost is measured: small, wide, large and huge."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax

from experiments import models
from experiments import transformer


@dataclasses.dataclass(frozen=True)
class Workload:
  """A model whose optimizer is measured.

  Attributes:
    make: the model, from its random state.
    stacked_axes: of its leaves, for the library's argument of that name.
  """

  make: Callable[[nnx.Rngs], nnx.Module]
  stacked_axes: Callable[[Any, Any], int] | None = None

  def params(self) -> Any:
    """The parameters as shapes and dtypes."""
    return nnx.eval_shape(lambda: nnx.state(self.make(nnx.Rngs(0)), nnx.Param))


def _image(name: str, shape: tuple[int, int, int]) -> Workload:
  return Workload(lambda rngs: models.MODELS[name](shape, 10, rngs=rngs))


def _stack(vocabulary: int, width: int, layers: int) -> Workload:
  return Workload(
    lambda rngs: transformer.Transformer(
      vocabulary, width, layers, width // 64, rngs=rngs
    ),
    transformer.stacked_axes,
  )


WORKLOADS = {
  # 0.27 million parameters in 6 leaves.
  'mlp': _image('mlp', (28, 28, 1)),
  # 11 million in 62.
  'resnet18': _image('resnet18', (32, 32, 3)),
  # 33 million, 10 layers in 6 of its 8 leaves.
  'stack': _stack(vocabulary=3072, width=512, layers=10),
  # One thousand million.
  'stack1b': _stack(vocabulary=32768, width=2048, layers=19),
}


def count(params: Any) -> int:
  """How many parameters there are."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
