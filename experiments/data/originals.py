"""Readers of the files in which the data sets were first published.

TFDS reads these files with TensorFlow; plain gzip and tar do as well.
"""

from collections.abc import Sequence
import gzip
import io
import math
import os
import struct
import tarfile
from typing import NamedTuple
import zlib

import numpy as np

_CIFAR_FOLDER = 'cifar-10-batches-bin/'
_CIFAR_BATCHES = {
  'train': [f'data_batch_{i}.bin' for i in range(1, 6)],
  'test': ['test_batch.bin'],
}
_CIFAR_LABEL_NAMES = 'batches.meta.txt'


class OriginalFileError(ValueError):
  """An original file is truncated, or is not what it should be."""


class Split(NamedTuple):
  """One split: images uint8 [n, h, w, c] and labels uint8 [n]."""

  images: np.ndarray
  labels: np.ndarray


class Original(NamedTuple):
  """What the original files hold.

  `label_names` is empty where the files do not name the classes.
  """

  splits: dict[str, Split]
  label_names: tuple[str, ...] = ()


def read_mnist(paths: Sequence[os.PathLike[str]]) -> Original:
  """Reads the four gzipped IDX files of the MNIST family.

  Args:
    paths: training images, training labels, test images, test labels.

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
    paths: the one gzipped tar file.

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
    with tarfile.open(fileobj=io.BytesIO(_gunzip(path))) as archive:
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


def _member(archive: tarfile.TarFile, name: str) -> bytes:
  file = archive.extractfile(_CIFAR_FOLDER + name)
  return file.read() if file else b''  # None is what a folder gives.


def _gunzip(path: os.PathLike[str]) -> bytes:
  try:
    with gzip.open(path) as file:
      return file.read()  # To the end, where the checksum is.
  except (EOFError, OSError, zlib.error) as error:
    raise OriginalFileError(f'{path}: {error}') from error


def _read_idx(path: os.PathLike[str]) -> np.ndarray:
  """Reads one gzipped IDX file of unsigned bytes."""
  data = _gunzip(path)
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
