"""The published model for MNIST and Fashion-MNIST, and those of streams."""

from collections.abc import Callable
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from experiments.models import layers
from experiments.models.model import ImageModel
from experiments.models.model import ImageShape
from experiments.models.model import MODELS


class MLP(nnx.Module):
  """The published MNIST model: 256-256, ReLU, dropout 0.1."""

  def __init__(self, shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs):
    self.hidden1 = layers.dense(math.prod(shape), 256, rngs)
    self.hidden2 = layers.dense(256, 256, rngs)
    self.head = layers.dense(256, num_classes, rngs)
    self.dropout = nnx.Dropout(0.1)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    keys = [None, None] if key is None else jax.random.split(key)
    x = images.reshape(len(images), -1)
    for layer, layer_key in zip(
      (self.hidden1, self.hidden2), keys, strict=True
    ):
      x = nnx.relu(layer(x))
      x = self.dropout(x, deterministic=not train, rngs=layer_key)
    return self.head(x)

  def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
    """The activations of the hidden layers in evaluation, [b, 256] each."""
    first = nnx.relu(self.hidden1(images.reshape(len(images), -1)))
    return first, nnx.relu(self.hidden2(first))


class PlainMLP(nnx.Module):
  """An MLP that does in training what it does in evaluation."""

  def __init__(
    self,
    shape: ImageShape,
    num_classes: int,
    *,
    rngs: nnx.Rngs,
    widths: tuple[int, ...] = (100, 100),
    activation: Callable[[jax.Array], jax.Array] = nnx.relu,
    norm: bool = False,
    heads: int = 1,
  ):
    """Makes it.

    Args:
      shape: of an image.
      num_classes: how many classes there are.
      rngs: the random state.
      widths: of the hidden layers.
      activation: after each of them.
      norm: whether a layer norm stands before it.
      heads: how many layers share out the classes among them, each of which
        has parameters of its own.
    """
    self._activation, self._depth, self._norm = activation, len(widths), norm
    sizes = math.prod(shape), *widths
    for i, width in enumerate(widths):
      setattr(self, f'hidden{i + 1}', layers.dense(sizes[i], width, rngs))
      if norm:
        setattr(self, f'norm{i + 1}', nnx.LayerNorm(width, rngs=rngs))
    each = [
      layers.dense(sizes[-1], num_classes // heads, rngs) for _ in range(heads)
    ]
    self.head = nnx.List(each) if heads > 1 else each[0]

  def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
    """The activations of the hidden layers, [b, width] each."""
    x, found = images.reshape(len(images), -1), []
    for i in range(1, self._depth + 1):
      x = getattr(self, f'hidden{i}')(x)
      if self._norm:
        x = getattr(self, f'norm{i}')(x)
      x = self._activation(x)
      found.append(x)
    return tuple(found)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    del train, key
    x = self.features(images)[-1]
    if isinstance(self.head, nnx.List):
      return jnp.concatenate([head(x) for head in self.head], axis=-1)
    return self.head(x)


def _plain(**options: Any) -> ImageModel:
  make = functools.partial(PlainMLP, **options)
  return ImageModel(make, shape=(28, 28, 1), features=True, heads=True)


# 0.27 million parameters in 6 leaves.
MODELS['mlp'] = ImageModel(MLP, shape=(28, 28, 1), features=True)
# Of streams: the one that most of them train, the baseline with layer norm,
# and both for splits.
MODELS['mlp_small'] = _plain()
MODELS['mlp_norm'] = _plain(norm=True)
MODELS['mlp_wide'] = _plain(widths=(400, 400))
MODELS['mlp_wide_norm'] = _plain(widths=(400, 400), norm=True)
# That of arXiv:2407.01704.
MODELS['mlp_leaky'] = _plain(widths=(300, 150), activation=nnx.leaky_relu)
