"""The published model for MNIST and Fashion-MNIST."""

import math

from flax import nnx
import jax

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


# 0.27 million parameters in 6 leaves.
MODELS['mlp'] = ImageModel(MLP, shape=(28, 28, 1))
