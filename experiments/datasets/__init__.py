"""The data of the experiments: whole data sets in memory, by name."""

from experiments.datasets import digits
from experiments.datasets import published
from experiments.datasets import synthetic
from experiments.datasets.dataset import Dataset
from experiments.datasets.dataset import DatasetNotPreparedError

__all__ = ['NAMES', 'Dataset', 'DatasetNotPreparedError', 'load']

NAMES = ('digits', *published.SOURCES, 'synthetic')


def load(name: str, *, data_dir: str | None = None) -> Dataset:
  """Loads a data set into memory.

  Args:
    name: `digits` (bundled, no files needed); `mnist`, `fashion_mnist` or
      `cifar10` (TFDS, prepared by `python -m experiments.prepare`); or
      `synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]]` (noise, for throughput and
      compile work only: an accuracy on it means nothing).
    data_dir: where TFDS data sets lie; TFDS's default where None.

  Returns:
    The data set; every call with the same name gives the same arrays.

  Raises:
    ValueError: if there is no data set of that name.
    DatasetNotPreparedError: if a TFDS data set is not on disk.
  """
  if name in published.SOURCES:
    return published.load(name, data_dir)
  if name == 'digits':
    return digits.load()
  if name.partition(':')[0] == 'synthetic':
    return synthetic.load(name)
  raise ValueError(f'name must be one of {", ".join(NAMES)}, got {name!r}')
