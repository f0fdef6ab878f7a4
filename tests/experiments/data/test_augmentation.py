"""Crops are crops of the padded image; normalisation can be undone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import augmentation

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


@pytest.fixture(name='images')
def _images():
  """Pixels of 1 to 255, so that a zero is always padding."""
  return np.random.default_rng(0).integers(1, 256, (64, 12, 10, 3), np.uint8)


def _candidates(image, pad):
  """Every crop of the padded image and its mirror image, by (y, x, flip)."""
  h, w, _ = image.shape
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  for y in range(2 * pad + 1):
    for x in range(2 * pad + 1):
      crop = padded[y : y + h, x : x + w]
      yield (y, x, False), crop
      yield (y, x, True), crop[:, ::-1]


def _choices(images, cropped, pad):
  """Which crop of each image was taken; fails where it is none."""
  return [
    next(
      choice
      for choice, candidate in _candidates(image, pad)
      if np.array_equal(candidate, result)
    )
    for image, result in zip(images, np.asarray(cropped), strict=True)
  ]


def test_crops_and_flips_differ_between_examples_and_cover_their_range():
  images = np.tile(
    np.random.default_rng(0).integers(1, 256, (1, 6, 5, 3), np.uint8),
    (600, 1, 1, 1),
  )
  cropped = augmentation.random_crop_flip(jax.random.key(0), images, 2)
  choices = _choices(images, cropped, 2)
  counts = {choice: choices.count(choice) for choice in choices}
  assert len(counts) == 5 * 5 * 2
  assert max(counts.values()) < 4 * 600 / 50  # All are about equally likely.


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_keeps_dtype_and_agrees_when_compiled_and_vmapped(images, dtype):
  images = images.astype(dtype)
  keys = jax.random.split(jax.random.key(0), 2)
  lanes = jax.jit(jax.vmap(augmentation.random_crop_flip, in_axes=(0, None)))(
    keys, images
  )
  assert lanes.dtype == dtype
  for key, lane in zip(keys, lanes, strict=True):
    np.testing.assert_array_equal(
      lane, augmentation.random_crop_flip(key, images)
    )


@pytest.mark.parametrize(
  ('pixel_max', 'mean', 'std'), [(255, MEAN, STD), (16, (0.5,), (0.5,))]
)
def test_normalize_can_be_undone(pixel_max, mean, std):
  pixels = np.arange(pixel_max + 1, dtype=np.uint8)
  images = np.broadcast_to(pixels[:, None], (len(pixels), len(mean)))
  normalized = augmentation.normalize(images, pixel_max, mean, std)
  assert normalized.dtype == jnp.float32
  undone = (np.asarray(normalized) * std + mean) * pixel_max
  np.testing.assert_array_equal(np.round(undone), images)
  np.testing.assert_allclose(undone, images, atol=1e-4)
