"""Generated noise for throughput and compile work, never for an accuracy."""

import math
import re
import sys

import numpy as np

from experiments import errors
from experiments.data.dataset import Dataset
from experiments.data.dataset import Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec

_NAME = re.compile(
  r'synthetic(?::(\d+)x(\d+)x(\d+)(?::(\d+)(?::(\d+)(?::(\d+))?)?)?)?'
)
_DEFAULTS = (28, 28, 1, 10, 4096, 1024)


def _numbers(name: str) -> list[int]:
  """Height, width, channels, classes, training images, test images."""
  match = _NAME.fullmatch(name)
  given = match.groups() if match else '0'
  numbers = [
    int(number or default)
    for number, default in zip(given, _DEFAULTS, strict=False)
  ]
  if not all(numbers) or numbers[3] < 2:
    raise errors.InvalidValueError(
      'name must be synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]] with positive '
      f'numbers and at least 2 classes, got {name!r}'
    )
  return numbers


def spec(name: str) -> Spec:
  """What the name describes; see `load`."""
  height, width, channels, num_classes, *_ = _numbers(name)
  return Spec(
    name,
    shape=(height, width, channels),
    num_classes=num_classes,
    mean=(0.5,) * channels,
    std=(0.5,) * channels,
  )


def load(name: str) -> Dataset:
  """Generates uniform noise; the labels cycle through the classes.

  Args:
    name: `synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]]`; what is left out is
      28x28x1, 10 classes, 4096 training and 1024 test images.

  Returns:
    The data set; the same name gives the same pixels.

  Raises:
    InvalidValueError: `name` is not of that form, or a number in it is 0.
  """
  *_, train, test = _numbers(name)
  described = spec(name)
  if (train + test) * math.prod(described.shape) > sys.maxsize:
    raise MemoryError('more bytes than there are addresses')
  images = np.random.default_rng(0).integers(
    0, 256, (train + test, *described.shape), np.uint8
  )
  labels = np.arange(train + test, dtype=np.int32) % described.num_classes
  return Dataset(
    described, images[:train], labels[:train], images[train:], labels[train:]
  )


SOURCES['synthetic'] = Source(
  spec, lambda name, _: load(name), parametrized=True
)
