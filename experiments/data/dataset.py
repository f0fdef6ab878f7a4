"""What every data set of the experiments is: a specification, and arrays."""

from collections.abc import Callable
import dataclasses

import numpy as np

from experiments import errors

ImageShape = tuple[int, int, int]  # Height, width, channels.


class DatasetNotPreparedError(errors.UserError, FileNotFoundError):
  """It is not on disk, or damaged; the message names the command to run."""


@dataclasses.dataclass(frozen=True)
class Spec:
  """All that is known of a data set before a pixel is read.

  Attributes:
    name: what `load` is called with.
    shape: of an image: height, width, channels.
    num_classes: how many classes there are.
    pixel_max: the value of a saturated pixel.
    mean: per channel, the mean to subtract from pixel / `pixel_max`.
    std: per channel, the standard deviation to divide by after that.
    augment: whether training images are to be cropped and flipped.
    validation: how much of the training part `validation` holds out: a number
      of examples, or the share of every class where it is a float.
    model: the model that a run on it trains by default.
    epochs: for how long.
    batch_size: examples an update.
  """

  name: str
  shape: ImageShape
  num_classes: int = 10
  pixel_max: int = 255
  mean: tuple[float, ...] = (0.5,)
  std: tuple[float, ...] = (0.5,)
  augment: bool = False
  validation: int | float = 0.15
  # As published for MNIST and Fashion-MNIST.
  model: str = 'mlp'
  epochs: int = 10
  batch_size: int = 128


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Labelled images, whole and in memory.

  Attributes:
    spec: what they are.
    train_images: uint8 [n, h, w, c], raw pixels from 0 to `spec.pixel_max`.
    train_labels: int32 [n], from 0 to `spec.num_classes` - 1.
    test_images: uint8 [m, h, w, c].
    test_labels: int32 [m].
  """

  spec: Spec
  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
  """How a data set is described and read, by its name.

  The folder of data sets may be None, for the default. If it is parametrized,
  the name may go on after a colon.
  """

  spec: Callable[[str], Spec]
  load: Callable[[str, str | None], Dataset]
  parametrized: bool = False


# By the part of the name that comes before the first colon, in the order in
# which people are told of them.
SOURCES: dict[str, Source] = {}
