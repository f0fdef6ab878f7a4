"""ResNet-18 for images of CIFAR-10's size."""

from flax import nnx
import jax
import jax.numpy as jnp

from experiments.data import ImageShape
from experiments.models import convolution
from experiments.models import layers
from experiments.models.model import ImageModel
from experiments.models.model import MODELS


class _Block(nnx.Module):
  """Two 3×3 convolutions with batch norm, around a shortcut."""

  def __init__(self, fan_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
    self.conv1 = _conv(fan_in, width, 3, stride, rngs)
    self.norm1 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
    self.conv2 = _conv(width, width, 3, 1, rngs)
    self.norm2 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
    self.projected = stride != 1 or fan_in != width
    if self.projected:
      self.conv0 = _conv(fan_in, width, 1, stride, rngs)
      self.norm0 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """[b, h, w, fan_in] to [b, h / stride, w / stride, width]."""
    average = not train
    y = nnx.relu(self.norm1(self.conv1(x), use_running_average=average))
    y = self.norm2(self.conv2(y), use_running_average=average)
    if self.projected:
      x = self.norm0(self.conv0(x), use_running_average=average)
    return nnx.relu(x + y)


def _conv(
  fan_in: int, width: int, size: int, stride: int, rngs: nnx.Rngs
) -> nnx.Conv:
  return convolution.Conv(
    fan_in,
    width,
    (size, size),
    strides=stride,
    padding='SAME' if size == 1 else 1,
    use_bias=False,
    kernel_init=nnx.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
    rngs=rngs,
  )


class ResNet18(nnx.Module):
  """ResNet-18 with the CIFAR stem: one 3×3 convolution, no max-pool."""

  def __init__(self, shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs):
    widths = (64, 128, 256, 512)
    self.stem = _conv(shape[-1], widths[0], 3, 1, rngs)
    self.norm = nnx.BatchNorm(widths[0], momentum=0.9, rngs=rngs)
    blocks, fan_in = [], widths[0]
    for stage, width in enumerate(widths):
      for stride in (1 if stage == 0 else 2, 1):
        blocks.append(_Block(fan_in, width, stride, rngs=rngs))
        fan_in = width
    self.blocks = nnx.List(blocks)
    self.head = layers.dense(fan_in, num_classes, rngs)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    del key  # No dropout.
    x = self.norm(self.stem(images), use_running_average=not train)
    x = nnx.relu(x)
    for block in self.blocks:
      x = block(x, train=train)
    return self.head(jnp.mean(x, axis=(1, 2)))


# 11 million parameters in 62 leaves.
MODELS['resnet18'] = ImageModel(
  ResNet18, shape=(32, 32, 3), augment=True, convolves=True
)
