"""Original files become TFDS data sets, or one sentence and nothing on disk."""

import dataclasses
import functools
import gzip
import http.server
import io
import pathlib
import struct
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import data as datasets
from experiments.data import preparing
from experiments.data import published
from tests.experiments import program

DEBIAN = pathlib.Path(published.PUBLISHED['fashion_mnist'].system_dir)
CIFAR_FOLDER = 'cifar-10-batches-bin'


def _write_idx(path, array):
  header = struct.pack(f'>{1 + array.ndim}I', 0x800 + array.ndim, *array.shape)
  path.write_bytes(gzip.compress(header + array.tobytes()))


def _write_cifar(path, images, labels, leave_out=()):
  """Writes five training batches and a test batch, all of the same size."""
  records = np.column_stack(
    [labels, images.transpose(0, 3, 1, 2).reshape(len(images), -1)]
  ).astype(np.uint8)
  names = [f'data_batch_{i}.bin' for i in range(1, 6)] + ['test_batch.bin']
  files = dict(zip(names, np.split(records, 6), strict=True))
  contents = {name: batch.tobytes() for name, batch in files.items()}
  contents['batches.meta.txt'] = b'\n'.join(b'class%d' % i for i in range(10))
  contents['readme.html'] = b'hello'
  with tarfile.open(path, 'w:gz') as archive:
    for name, content in contents.items():
      if name not in leave_out:
        member = tarfile.TarInfo(f'{CIFAR_FOLDER}/{name}')
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _shrink(monkeypatch, name, images, sizes):
  """Makes a source expect the images of a test instead of the real ones."""
  small = dataclasses.replace(
    published.PUBLISHED[name],
    sizes=sizes,
    pixel_mean=images[: sizes['train']].mean() / 255,
  )
  monkeypatch.setitem(published.PUBLISHED, name, small)


@pytest.fixture(name='folder')
def _folder(tmp_path):
  folder = tmp_path / 'originals'
  folder.mkdir()
  return folder


@pytest.fixture(name='data_dir')
def _data_dir(tmp_path):
  return tmp_path / 'data'


@pytest.fixture(name='mnist')
def _mnist(folder, monkeypatch):
  """Thirty images and labels, written as MNIST's files; 20 are for training."""
  images = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), np.uint8)
  labels = np.arange(30, dtype=np.uint8) % 10
  for split, part in (('train', slice(20)), ('t10k', slice(20, None))):
    _write_idx(folder / f'{split}-images-idx3-ubyte.gz', images[part, ..., 0])
    _write_idx(folder / f'{split}-labels-idx1-ubyte.gz', labels[part])
  _shrink(monkeypatch, 'mnist', images, {'train': 20, 'test': 10})
  return images, labels


@pytest.fixture(name='cifar10')
def _cifar10(folder, monkeypatch):
  """Sixty images and labels, written as CIFAR-10's; 50 are for training."""
  images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
  labels = np.arange(60, dtype=np.uint8) % 10
  _write_cifar(folder / 'cifar-10-binary.tar.gz', images, labels)
  _shrink(monkeypatch, 'cifar10', images, {'train': 50, 'test': 10})
  return images, labels


def _examples(images, labels):
  """The examples in an order of their own: TFDS shuffles what it writes."""
  return sorted(
    (int(label), image.tobytes())
    for image, label in zip(images, labels, strict=True)
  )


def _assert_same_examples(data, images, labels):
  size = len(data.train_labels)
  assert _examples(data.train_images, data.train_labels) == _examples(
    images[:size], labels[:size]
  )
  assert _examples(data.test_images, data.test_labels) == _examples(
    images[size:], labels[size:]
  )


@pytest.mark.parametrize('name', ['mnist', 'cifar10'])
def test_prepared_examples_are_the_original_ones(
  name, folder, data_dir, request, capsys
):
  images, labels = request.getfixturevalue(name)
  where = preparing.prepare(name, idx_dir=str(folder), data_dir=str(data_dir))
  out = capsys.readouterr().out
  assert f'train images from {folder}' in out
  assert str(where) in out
  data = datasets.load(name, data_dir=str(data_dir))
  _assert_same_examples(data, images, labels)


def test_the_plain_data_source_reads_it_as_of_the_stock_builder(
  folder, data_dir, cifar10
):
  preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  source = tfds.data_source('cifar10', split='test', data_dir=str(data_dir))
  assert {example['id'] for example in source} == {
    f'test_{i:05d}'.encode() for i in range(10)
  }
  label = source.dataset_info.features['label']
  assert label.names == [f'class{i}' for i in range(10)]
  stock = tfds.builder('cifar10', data_dir=str(data_dir))
  assert stock.is_prepared()
  assert stock.info.splits['train'].num_examples == 50


def test_a_second_time_says_so_and_changes_nothing(
  folder, data_dir, mnist, capsys
):
  arguments = {'idx_dir': str(folder), 'data_dir': str(data_dir)}
  where = pathlib.Path(preparing.prepare('mnist', **arguments))
  files = {path: path.stat().st_mtime_ns for path in where.iterdir()}
  capsys.readouterr()
  assert preparing.prepare('mnist', **arguments) == where
  assert f'already prepared in {where}' in capsys.readouterr().out
  assert files == {path: path.stat().st_mtime_ns for path in where.iterdir()}


def test_a_folder_that_only_tensorflow_reads_is_left_alone(
  folder, data_dir, mnist
):
  where = preparing.prepare(
    'mnist', idx_dir=str(folder), data_dir=str(data_dir)
  )
  info = pathlib.Path(where) / 'dataset_info.json'
  info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
  with pytest.raises(datasets.DatasetNotPreparedError):
    datasets.load('mnist', data_dir=str(data_dir))
  with pytest.raises(preparing.PrepareError, match='no array_record data set'):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=str(data_dir))


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-20])


def _not_gzip(path):
  path.write_bytes(b'<html>not found</html>')


def _not_idx(path):
  path.write_bytes(gzip.compress(b'<html>not found</html>'))


def _empty(path):
  path.write_bytes(gzip.compress(b''))


def _lose_a_row(path):
  content = gzip.decompress(path.read_bytes())
  path.write_bytes(gzip.compress(content[:-28]))


def _lose_an_image(path):
  _write_idx(path, np.zeros((19, 28, 28), np.uint8))


def _smaller_images(path):
  _write_idx(path, np.zeros((20, 8, 8), np.uint8))


def _black_images(path):
  _write_idx(path, np.zeros((20, 28, 28), np.uint8))


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (_truncate, 'train-images-idx3-ubyte.gz: Compressed file ended'),
    (_not_gzip, 'train-images-idx3-ubyte.gz: Not a gzipped file'),
    (_not_idx, 'train-images-idx3-ubyte.gz: this is no IDX file'),
    (_empty, 'train-images-idx3-ubyte.gz: this is no IDX file'),
    (_lose_a_row, r'train-images-idx3-ubyte.gz: 15652 bytes of data, but'),
    (
      _lose_an_image,
      r'the image shape of train is \(19, 28, 28, 1\), not \(20',
    ),
    (_smaller_images, r'the image shape of train is \(20, 8, 8, 1\), not'),
    (_black_images, 'the mean training pixel is 0.0000, not .*another data'),
  ],
)
def test_spoilt_mnist_images_leave_nothing_behind(
  folder, data_dir, mnist, spoil, message
):
  spoil(folder / 'train-images-idx3-ubyte.gz')
  with pytest.raises(preparing.PrepareError, match=f'cannot use .*{message}'):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=str(data_dir))
  assert not data_dir.exists()


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (np.arange(11) % 10, r'the label shape of test is \(11,\), not \(10,\)'),
    (np.arange(10) + 1, r'the label values of test is \[1, 2.*not \[0, 1'),
  ],
)
def test_spoilt_mnist_labels_leave_nothing_behind(
  folder, data_dir, mnist, labels, message
):
  _write_idx(folder / 't10k-labels-idx1-ubyte.gz', labels.astype(np.uint8))
  with pytest.raises(preparing.PrepareError, match=message):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=str(data_dir))
  assert not data_dir.exists()


def test_spoilt_cifar_leaves_nothing_behind(folder, data_dir, cifar10):
  images, labels = cifar10
  path = folder / 'cifar-10-binary.tar.gz'
  run = functools.partial(
    preparing.prepare, 'cifar10', idx_dir=str(folder), data_dir=str(data_dir)
  )
  whole = path.read_bytes()
  for part in (whole[: len(whole) // 2], whole[:-20], b'<html>', b''):
    path.write_bytes(part)
    with pytest.raises(preparing.PrepareError, match=f'cannot use {path}: '):
      run()
  _write_cifar(path, images, labels, leave_out=['data_batch_3.bin'])
  with pytest.raises(
    preparing.PrepareError, match=r'data_batch_3.bin. not found'
  ):
    run()
  _write_cifar(path, images[:, :31], labels)
  with pytest.raises(preparing.PrepareError, match='records are not whole'):
    run()
  _write_cifar(path, images[:30], labels[:30])
  with pytest.raises(preparing.PrepareError, match='the image shape of train'):
    run()
  assert not data_dir.exists()


def test_a_folder_that_cannot_be_written_is_named(folder, tmp_path, mnist):
  (tmp_path / 'file').write_text('')
  data_dir = str(tmp_path / 'file')
  with pytest.raises(preparing.PrepareError, match=f'cannot write {data_dir}/'):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=data_dir)


def test_a_failure_while_writing_leaves_no_part_of_the_data_set(
  folder, data_dir, mnist, monkeypatch
):
  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(preparing.Image, 'fromarray', fail)
  with pytest.raises(preparing.PrepareError, match=r'cannot write .*disk full'):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=str(data_dir))
  assert not list((data_dir / 'mnist').iterdir())


@pytest.fixture(name='server')
def _server(folder, monkeypatch):
  """Serves the folder of original files; `mnist` downloads from it."""

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
      del args  # The tests' output is not a web server's log.

  server = http.server.ThreadingHTTPServer(
    ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder))
  )
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  yield f'http://127.0.0.1:{server.server_port}/'
  server.shutdown()
  server.server_close()
  thread.join()


def _set_url(monkeypatch, url):
  monkeypatch.setitem(
    published.PUBLISHED,
    'mnist',
    dataclasses.replace(published.PUBLISHED['mnist'], url=url),
  )


def test_files_are_downloaded_where_no_folder_is_given(
  data_dir, mnist, server, monkeypatch
):
  _set_url(monkeypatch, server)
  preparing.prepare('mnist', data_dir=str(data_dir))
  data = datasets.load('mnist', data_dir=str(data_dir))
  _assert_same_examples(data, *mnist)


def test_a_missing_download_is_one_sentence(
  folder, data_dir, mnist, server, monkeypatch
):
  (folder / 't10k-labels-idx1-ubyte.gz').unlink()
  _set_url(monkeypatch, server)
  with pytest.raises(preparing.PrepareError, match=r'cannot write .*404'):
    preparing.prepare('mnist', data_dir=str(data_dir))
  assert not list((data_dir / 'mnist').iterdir())


def test_an_unreachable_server_is_told_at_once(data_dir, mnist, monkeypatch):
  _set_url(monkeypatch, 'http://127.0.0.1:9/')
  with pytest.raises(preparing.PrepareError, match=r'cannot reach .*--idx_dir'):
    preparing.prepare('mnist', data_dir=str(data_dir))
  assert not data_dir.exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'give one NAME: mnist, fashion_mnist, cifar10'),
    (['imagenet'], 'NAME must be one of mnist, fashion_mnist, cifar10'),
    (['mnist', '--idx_dir=/nowhere'], '--idx_dir must be an existing folder'),
    (['cifar10', '--idx_dir=/'], '--idx_dir=/ holds no cifar-10-binary.tar.gz'),
  ],
)
def test_wrong_arguments_end_with_one_sentence(arguments, message):
  done = program.module('prepare', *arguments)
  assert done.returncode == 1
  assert message in done.stderr
  assert len(done.stderr.splitlines()) == 1
  assert not done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
  not DEBIAN.is_dir(), reason=f'needs the real Fashion-MNIST in {DEBIAN}'
)
def test_the_real_fashion_mnist(data_dir):
  arguments = f'--idx_dir={DEBIAN}', f'--data_dir={data_dir}'
  done = program.module('prepare', 'fashion_mnist', *arguments)
  assert done.returncode == 0, done.stderr
  again = program.module('prepare', 'fashion_mnist', *arguments)
  assert again.returncode == 0
  assert 'already prepared' in again.stdout
  data = datasets.load('fashion_mnist', data_dir=str(data_dir))
  np.testing.assert_array_equal(np.bincount(data.train_labels), [6000] * 10)
  np.testing.assert_array_equal(np.bincount(data.test_labels), [1000] * 10)
  read = published.PUBLISHED['fashion_mnist'].read(
    [DEBIAN / file for file in published.PUBLISHED['fashion_mnist'].files]
  )
  images, labels = (
    np.concatenate(parts)
    for parts in zip(read.splits['train'], read.splits['test'], strict=True)
  )
  _assert_same_examples(data, images, labels)
