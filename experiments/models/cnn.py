"""The published compact network for CIFAR-10."""

from flax import nnx
import jax

from experiments import errors
from experiments.data import ImageShape
from experiments.models import convolution
from experiments.models import layers
from experiments.models import pooling
from experiments.models.model import ImageModel
from experiments.models.model import MODELS


class CNN(nnx.Module):
  """The published compact net: 32-64-pool-128-pool, dense 256, dropout 0.2."""

  def __init__(self, shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs):
    height, width, channels = shape
    if min(height, width) < 4:
      raise errors.InvalidValueError(
        f'config.model=cnn needs images of at least 4×4, got {shape}.'
      )
    self.conv1 = convolution.Conv(channels, 32, (3, 3), rngs=rngs)
    self.conv2 = convolution.Conv(32, 64, (3, 3), rngs=rngs)
    self.conv3 = convolution.Conv(64, 128, (3, 3), rngs=rngs)
    self.hidden = layers.dense((height // 4) * (width // 4) * 128, 256, rngs)
    self.head = layers.dense(256, num_classes, rngs)
    self.dropout = nnx.Dropout(0.2)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    x = nnx.relu(self.conv1(images))
    x = pooling.halve(nnx.relu(self.conv2(x)))
    x = pooling.halve(nnx.relu(self.conv3(x)))
    x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
    x = self.dropout(x, deterministic=not train, rngs=key)
    return self.head(x)


MODELS['cnn'] = ImageModel(CNN, shape=(32, 32, 3), augment=True, convolves=True)
