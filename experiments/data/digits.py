"""The embedded default: the 1,797 UCI digits bundled with scikit-learn."""

import numpy as np

from experiments.data.dataset import Dataset
from experiments.data.dataset import Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec

# It is small: more and smaller steps than those of the published data sets.
SPEC = Spec('digits', shape=(8, 8, 1), pixel_max=16, epochs=20, batch_size=32)


def load() -> Dataset:
  """Returns the 8×8 digits, split 80/20 by class, the same way every time."""
  # Imported here: scikit-learn takes a second that no other data set needs.
  from sklearn.datasets import load_digits
  from sklearn.model_selection import train_test_split

  digits = load_digits()
  train_images, test_images, train_labels, test_labels = train_test_split(
    digits.images[..., None].astype(np.uint8),
    digits.target.astype(np.int32),
    test_size=0.2,
    stratify=digits.target,
    random_state=0,
  )
  return Dataset(SPEC, train_images, train_labels, test_images, test_labels)


SOURCES['digits'] = Source(lambda _: SPEC, lambda *_: load())
