"""The data of the experiments: whole data sets in memory, by name.

A new data set of TFDS is an entry of `published.PUBLISHED`; another kind is a
module that puts a `Source` into `SOURCES`, and is imported here.
"""

from experiments import errors
from experiments.data import digits as digits
from experiments.data import published as published
from experiments.data import synthetic as synthetic
from experiments.data.dataset import Dataset as Dataset
from experiments.data.dataset import (
  DatasetNotPreparedError as DatasetNotPreparedError,
)
from experiments.data.dataset import ImageShape as ImageShape
from experiments.data.dataset import Source as Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec as Spec
from experiments.data.subsets import validation as validation

NAMES = tuple(SOURCES)


def spec(name: str) -> Spec:
  """What a data set is, without reading it; see `load` for its name."""
  return _source(name).spec(name)


def load(name: str, *, data_dir: str | None = None) -> Dataset:
  """Loads a data set into memory.

  Args:
    name: `digits` (bundled, no files needed); `mnist`, `fashion_mnist` or
      `cifar10` (TFDS, prepared by `python -m experiments.prepare`); or
      `synthetic[:HxWxC[:CLASSES[:TRAIN[:TEST]]]]` (noise, for throughput and
      compile work only: an accuracy on it means nothing).
    data_dir: the folder of prepared data sets; where None, the one that
      `published.resolve_data_dir` says.

  Returns:
    The data set; every call with the same name gives the same arrays.

  Raises:
    InvalidValueError: there is no data set of that name.
    DatasetNotPreparedError: a TFDS data set is not on disk.
  """
  try:
    return _source(name).load(name, data_dir)
  except MemoryError as e:
    raise errors.UserError(
      f'data set {name!r} does not fit into memory ({e}).'
    ) from e


def _source(name: str) -> Source:
  kind, colon, _ = name.partition(':')
  if kind not in SOURCES or (colon and not SOURCES[kind].parametrized):
    raise errors.InvalidValueError(
      f'name must be one of {", ".join(NAMES)}, got {name!r}'
      + (f': {kind} takes nothing after its name.' if kind in SOURCES else '.')
    )
  return SOURCES[kind]
