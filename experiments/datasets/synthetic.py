"""Generated noise for throughput and compile work, never for an accuracy."""

import re

import numpy as np

from experiments.datasets.dataset import Dataset

_NAME = re.compile(
  r'synthetic(?::(\d+)x(\d+)x(\d+)(?::(\d+)(?::(\d+)(?::(\d+))?)?)?)?'
)
_DEFAULTS = (28, 28, 1, 10, 4096, 1024)


def load(name: str = 'synthetic') -> Dataset:
  """Generates uniform noise; its labels go round the classes and mean nothing.

  Args:
    name: `synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]]`; what is left out is
      28x28x1, 10 classes, 4096 training and 1024 test images.

  Returns:
    The data set; the same name gives the same pixels.

  Raises:
    ValueError: if `name` is not of that form, or a number in it is 0.
  """
  match = _NAME.fullmatch(name)
  given = match.groups() if match else '0'
  numbers = [
    int(number or default)
    for number, default in zip(given, _DEFAULTS, strict=False)
  ]
  if not all(numbers):
    raise ValueError(
      'name must be synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]] with positive '
      f'numbers, got {name!r}'
    )
  *shape, num_classes, train, test = numbers
  images = np.random.default_rng(0).integers(
    0, 256, (train + test, *shape), np.uint8
  )
  labels = np.arange(train + test, dtype=np.int32) % num_classes
  channels = shape[-1]
  return Dataset(
    name=name,
    train_images=images[:train],
    train_labels=labels[:train],
    test_images=images[train:],
    test_labels=labels[train:],
    num_classes=num_classes,
    pixel_max=255,
    mean=(0.5,) * channels,
    std=(0.5,) * channels,
  )
