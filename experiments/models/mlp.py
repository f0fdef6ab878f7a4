"""The published model for MNIST and Fashion-MNIST, and those of streams."""

from collections.abc import Callable
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from experiments.data import ImageShape
from experiments.models import layers
from experiments.models.model import ImageModel
from experiments.models.model import MODELS


class MLP(nnx.Module):
  """Dense layers, each with an activation and dropout after it."""

  def __init__(
    self,
    shape: ImageShape,
    num_classes: int,
    *,
    rngs: nnx.Rngs,
    widths: tuple[int, ...] = (100, 100),
    activation: Callable[[jax.Array], jax.Array] = nnx.relu,
    norm: bool = False,
    dropout: float = 0.0,
    heads: int = 1,
  ):
    """Makes it, if need be with layer norms before the activations.

    Heads are layers that share out the classes among them.
    """
    self._activation, self._depth, self._norm = activation, len(widths), norm
    sizes = math.prod(shape), *widths
    for i, width in enumerate(widths):
      setattr(self, f'hidden{i + 1}', layers.dense(sizes[i], width, rngs))
      if norm:
        setattr(self, f'norm{i + 1}', nnx.LayerNorm(width, rngs=rngs))
    dense = lambda _: layers.dense(sizes[-1], num_classes // heads, rngs)
    self.head = nnx.List(map(dense, range(heads))) if heads > 1 else dense(0)
    self._dropout = dropout

  def _hidden(
    self, images: jax.Array, *, train: bool = False, key: Any = None
  ) -> tuple[jax.Array, ...]:
    """The activations of the hidden layers, [b, width] each."""
    drop = nnx.Dropout(self._dropout, deterministic=not train)
    keys: Any = [None] * self._depth
    if train and self._dropout:
      keys = jax.random.split(key, self._depth)
    x, found = images.reshape(len(images), -1), []
    for i, layer_key in enumerate(keys, 1):
      x = getattr(self, f'hidden{i}')(x)
      if self._norm:
        x = getattr(self, f'norm{i}')(x)
      x = drop(self._activation(x), rngs=layer_key)
      found.append(x)
    return tuple(found)

  def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
    """The activations of the hidden layers in evaluation, [b, width] each."""
    return self._hidden(images)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    x = self._hidden(images, train=train, key=key)[-1]
    if isinstance(self.head, nnx.List):
      return jnp.concatenate([head(x) for head in self.head], axis=-1)
    return self.head(x)


def _model(**options: Any) -> ImageModel:
  make = functools.partial(MLP, **options)
  return ImageModel(make, shape=(28, 28, 1), features=True)


# As published: 0.27 million parameters in 6 leaves.
MODELS['mlp'] = _model(widths=(256, 256), dropout=0.1)
# Of streams: the one that most of them train, the baseline with layer norm,
# and both for splits.
MODELS['mlp_small'] = _model()
MODELS['mlp_norm'] = _model(norm=True)
MODELS['mlp_wide'] = _model(widths=(400, 400))
MODELS['mlp_wide_norm'] = _model(widths=(400, 400), norm=True)
# That of arXiv:2407.01704.
MODELS['mlp_leaky'] = _model(widths=(300, 150), activation=nnx.leaky_relu)
