"""What every data set of the experiments looks like in memory."""

import dataclasses

import numpy as np


class DatasetNotPreparedError(FileNotFoundError):
  """The data set is not on disk; the message names the command to run."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Labelled images, whole and in memory, with their published constants.

  Attributes:
    name: what `load` was called with.
    train_images: uint8 [n, h, w, c], raw pixels between 0 and `pixel_max`.
    train_labels: int32 [n], between 0 and `num_classes - 1`.
    test_images: uint8 [m, h, w, c].
    test_labels: int32 [m].
    num_classes: how many classes there are.
    pixel_max: the value of a saturated pixel.
    mean: per channel, the mean to subtract from pixel / `pixel_max`.
    std: per channel, the standard deviation to divide by after that.
    augment: whether training images are to be cropped and flipped.
  """

  name: str
  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  num_classes: int
  pixel_max: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  augment: bool = False
