"""The models, as Flax NNX modules that hold no random state.

Every model is called as `model(images, train=…, key=…)`: float32 images
[b, h, w, c] to logits [b, classes]. `key` is what dropout draws from in
training. A new model is one class and one entry in `MODELS`.
"""

from collections.abc import Callable
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

ImageShape = tuple[int, int, int]


def _dense(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
  """A dense layer, initialised as the published program's framework does.

  Weights and biases are uniform in ±1/√fan_in. The norm clip of homeostasis
  bounds how far a step goes, so that the scale of the start matters.
  """

  def uniform(key: jax.Array, shape: Any, dtype: Any, **_: Any) -> jax.Array:
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return nnx.Linear(
    fan_in, fan_out, kernel_init=uniform, bias_init=uniform, rngs=rngs
  )


class MLP(nnx.Module):
  """The published MNIST model: 256-256, ReLU, dropout 0.1."""

  def __init__(self, shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs):
    self.hidden1 = _dense(math.prod(shape), 256, rngs)
    self.hidden2 = _dense(256, 256, rngs)
    self.head = _dense(256, num_classes, rngs)
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


class CNN(nnx.Module):
  """The published compact net: 32-64-pool-128-pool, dense 256, dropout 0.2."""

  def __init__(self, shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs):
    height, width, channels = shape
    if min(height, width) < 4:
      raise ValueError(f'cnn needs images of at least 4×4, got {shape}.')
    self.conv1 = nnx.Conv(channels, 32, (3, 3), rngs=rngs)
    self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
    self.conv3 = nnx.Conv(64, 128, (3, 3), rngs=rngs)
    self.hidden = _dense((height // 4) * (width // 4) * 128, 256, rngs)
    self.head = _dense(256, num_classes, rngs)
    self.dropout = nnx.Dropout(0.2)

  def __call__(
    self, images: jax.Array, *, train: bool, key: jax.Array | None = None
  ) -> jax.Array:
    """Logits [b, classes]."""
    pool = lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))
    x = nnx.relu(self.conv1(images))
    x = pool(nnx.relu(self.conv2(x)))
    x = pool(nnx.relu(self.conv3(x)))
    x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
    x = self.dropout(x, deterministic=not train, rngs=key)
    return self.head(x)


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
  return nnx.Conv(
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
    self.head = _dense(fan_in, num_classes, rngs)

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


MODELS: dict[str, Callable[..., nnx.Module]] = {
  'mlp': MLP,
  'cnn': CNN,
  'resnet18': ResNet18,
}
