"""From raw pixels to network inputs, on the device: pure JAX functions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalize(
  images: jax.typing.ArrayLike,
  pixel_max: int,
  mean: Sequence[float],
  std: Sequence[float],
) -> jax.Array:
  """Scales pixels and standardises them: (x / pixel_max − mean) / std.

  Args:
    images: uint8 [..., c], raw pixels.
    pixel_max: the value of a saturated pixel.
    mean: c means, of x / pixel_max.
    std: c standard deviations, of x / pixel_max.

  Returns:
    float32 [..., c].
  """
  scaled = jnp.asarray(images, jnp.float32) / pixel_max
  return (scaled - jnp.float32(mean)) / jnp.float32(std)


def random_crop_flip(
  key: jax.Array, images: jax.typing.ArrayLike, pad: int = 4
) -> jax.Array:
  """Crops each image at random from its zero-padded self, and mirrors half.

  To be called on raw pixels, before `normalize`: the published pipeline pads
  with black, which is not zero once the images are normalised.

  Args:
    key: a typed JAX key; every image has its own crop and flip.
    images: [b, h, w, c] of any dtype.
    pad: how many zeros to put at each side of both image axes.

  Returns:
    Images of the same shape and dtype.
  """
  images = jnp.asarray(images)
  batch, height, width, _ = images.shape
  crop_key, flip_key = jax.random.split(key)
  top, left = jax.random.randint(crop_key, (2, batch, 1), 0, 2 * pad + 1)
  flip = jax.random.bernoulli(flip_key, shape=(batch, 1))
  padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  # Which rows and columns of the padded image to take: one gather does it all.
  columns = jnp.arange(width)
  columns = jnp.where(flip, columns[::-1], columns) + left
  rows = jnp.arange(height) + top
  examples = jnp.arange(batch)[:, None, None]
  return padded[examples, rows[:, :, None], columns[:, None, :]]
