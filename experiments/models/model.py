"""What every model of the experiments is: a specification that makes it."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from experiments.data import ImageShape

StackedAxes = Callable[[Any, Any], int]


@dataclasses.dataclass(frozen=True)
class ImageModel:
  """A classifier of images.

  Attributes:
    make: the module, from `(shape, num_classes, *, rngs)`. It holds no random
      state, and is called as `module(images, train=…, key=…)`: float32 images
      [b, h, w, c] to logits [b, classes]. `key` is what dropout draws from in
      training.
    shape: of the images that it was published for.
    augment: whether it was published with cropped and flipped images.
    features: whether streams can train it. Then the module also has
      `features(images)`: the activations of its hidden layers in evaluation,
      [b, units] each, of which the last is what the head reads. And `make` also
      takes `heads`: how many layers, each with as many outputs as the others,
      share out the classes among them in their order.
    convolves: whether it has convolutions.
  """

  make: Callable[..., nnx.Module]
  shape: ImageShape
  augment: bool = False
  features: bool = False
  convolves: bool = False

  @property
  def lanes(self) -> int | None:
    """How many trials of it had best run at once on a device; None for all.

    CPUs are busy with one. So are other devices with convolutions, and those
    of several trials at once, each with kernels of its own, are slow there.
    """
    return 1 if self.convolves or jax.default_backend() == 'cpu' else None

  def tree(self) -> 'ParameterTree':
    """Its parameters, for images of the published shape and ten classes."""
    return ParameterTree(lambda rngs: self.make(self.shape, 10, rngs=rngs))


@dataclasses.dataclass(frozen=True)
class ParameterTree:
  """A model whose optimizer is measured, be it trained here or not.

  Attributes:
    make: the module, from its random state.
    stacked_axes: how many leading axes of a leaf index layers, for the
      library's argument of that name; None for none.
  """

  make: Callable[[nnx.Rngs], nnx.Module]
  stacked_axes: StackedAxes | None = None

  def params(self) -> Any:
    """The parameters as shapes and dtypes."""
    return nnx.eval_shape(lambda: nnx.state(self.make(nnx.Rngs(0)), nnx.Param))


def leaves(count: int, size: int) -> ParameterTree:
  """So many matrices of size × size elements, and nothing done with them."""

  class Leaves(nnx.Module):
    def __init__(self) -> None:
      zeros = [nnx.Param(jnp.zeros((size, size))) for _ in range(count)]
      self.leaves = nnx.List(zeros)

  return ParameterTree(lambda _: Leaves())


def in_order(make: Callable[[], nnx.Module]) -> tuple[str, ...]:
  """The names of the parts of a module, in the order in which it makes them.

  JAX and NNX sort them by name.
  """
  found: list[str] = []

  def trace() -> nnx.Module:
    module = make()
    found.extend(name for name in vars(module) if not name.startswith('_'))
    return module

  nnx.eval_shape(trace)
  return tuple(found)


def count(params: Any) -> int:
  """How many parameters there are."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


# What `experiments.train` trains, by name.
MODELS: dict[str, ImageModel] = {}
# Language models, whose training step `experiments.aot` compiles.
STACKS: dict[str, ParameterTree] = {}
