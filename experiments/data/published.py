"""The published benchmarks, read through TensorFlow Datasets.

TensorFlow itself is not needed: `tfds.data_source` reads array_record files,
which `python -m experiments.prepare` writes. A new benchmark is a new entry of
`PUBLISHED`.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import os
import shlex
from typing import Any

from absl import logging
import numpy as np

from experiments.data import originals
from experiments.data.dataset import Dataset
from experiments.data.dataset import DatasetNotPreparedError
from experiments.data.dataset import Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec

# Examples decoded at once: enough to spread the cost of a call, few enough to
# keep the decoded examples, each a dictionary, from filling the memory.
_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class Published:
  """A TFDS data set of labelled images, and the files it is made from.

  Attributes:
    spec: what the data set is.
    url: the address under which the original files lie.
    files: their names, in the order in which `read` takes them.
    read: the reader of the original files.
    sizes: how many examples each split has.
    pixel_mean: of all training pixels / 255, as published: it tells apart the
      MNIST family, whose files have the same names and sizes.
    system_dir: where a Linux distribution's package puts the original files.
  """

  spec: Spec
  url: str
  files: tuple[str, ...]
  read: Callable[[Sequence[os.PathLike[str]]], originals.Original]
  sizes: dict[str, int]
  pixel_mean: float
  system_dir: str = ''


_MNIST = Published(
  Spec('mnist', shape=(28, 28, 1)),
  url='https://storage.googleapis.com/cvdf-datasets/mnist/',
  files=(
    'train-images-idx3-ubyte.gz',
    'train-labels-idx1-ubyte.gz',
    't10k-images-idx3-ubyte.gz',
    't10k-labels-idx1-ubyte.gz',
  ),
  read=originals.read_mnist,
  sizes={'train': 60_000, 'test': 10_000},
  pixel_mean=0.1307,
)

PUBLISHED = {
  'mnist': _MNIST,
  'fashion_mnist': dataclasses.replace(
    _MNIST,
    spec=Spec('fashion_mnist', shape=(28, 28, 1)),
    url='http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
    pixel_mean=0.2860,
    system_dir='/usr/share/datasets/fashion-mnist',  # Debian's package.
  ),
  'cifar10': Published(
    Spec(
      'cifar10',
      shape=(32, 32, 3),
      mean=(0.491, 0.482, 0.447),
      std=(0.247, 0.243, 0.262),
      augment=True,
      model='resnet18',
    ),
    url='https://www.cs.toronto.edu/~kriz/',
    files=('cifar-10-binary.tar.gz',),
    read=originals.read_cifar10,
    sizes={'train': 50_000, 'test': 10_000},
    pixel_mean=0.4734,
  ),
}


def load(name: str, data_dir: str | None = None) -> Dataset:
  """Reads a prepared TFDS data set into memory.

  Args:
    name: a key of `PUBLISHED`.
    data_dir: TFDS's data folder; its default where None.

  Returns:
    The data set.

  Raises:
    DatasetNotPreparedError: it is not on disk in a form that can be read
      without TensorFlow.
  """
  # Imported here: it takes half a second that the other data sets don't need.
  import tensorflow_datasets as tfds

  spec = PUBLISHED[name].spec
  try:
    with _only_errors_logged():
      sources = tfds.data_source(
        name,
        split=['train', 'test'],
        data_dir=resolve_data_dir(data_dir),
        download=False,
      )
      train, test = (_materialize(source, spec.shape) for source in sources)
  except NotImplementedError as error:  # What TFDS says of missing files.
    raise DatasetNotPreparedError(
      f'data set {name!r} is not prepared in {resolve_data_dir(data_dir)}: run '
      f'`{_prepare_command(name, data_dir)}` first'
    ) from error
  return Dataset(spec, *train, *test)


def resolve_data_dir(data_dir: str | None) -> str:
  """Returns `data_dir`, or TFDS's default: $TFDS_DATA_DIR, or the home's."""
  from tensorflow_datasets.core import constants

  # The shell leaves the ~ of --data_dir=~/x as it is.
  return os.path.expanduser(data_dir or constants.get_default_data_dir())


def _prepare_command(name: str, data_dir: str | None) -> str:
  system_dir = PUBLISHED[name].system_dir
  command = ['python', '-m', 'experiments.prepare', name]
  if system_dir and os.path.isdir(system_dir):
    command.append(f'--idx_dir={system_dir}')
  if data_dir:
    command.append(f'--data_dir={data_dir}')
  return shlex.join(command)


def _materialize(
  source: Any, image_shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
  """Reads a whole data source: images uint8 [n, h, w, c], labels int32 [n]."""
  images = np.empty((len(source), *image_shape), np.uint8)
  labels = np.empty(len(source), np.int32)
  for start in range(0, len(source), _CHUNK):
    indices = range(start, min(start + _CHUNK, len(source)))
    for i, example in zip(indices, _take(source, indices), strict=True):
      images[i] = example['image']
      labels[i] = example['label']
  return images, labels


def _take(source: Any, indices: range) -> Sequence[dict[str, Any]]:
  try:
    return source.__getitems__(list(indices))
  except TypeError:  # The sources of `tfds.testing.mock_data` cannot do it.
    return [source[i] for i in indices]


@contextlib.contextmanager
def _only_errors_logged() -> Iterator[None]:
  """Keeps TFDS from warning of what we handle, or advising OpenCV."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


for _name in PUBLISHED:
  SOURCES[_name] = Source(lambda name: PUBLISHED[name].spec, load)
