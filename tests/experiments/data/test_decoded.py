"""A copy is used if it is whole and of the same files, and never otherwise."""

import numpy as np
import pytest

from experiments.data import decoded

COPY = '.decoded.npz'


@pytest.fixture(name='folder')
def _folder(tmp_path):
  (tmp_path / 'records').write_bytes(bytes(range(200)))
  (tmp_path / 'info').write_text('about them')
  return tmp_path


@pytest.fixture(name='load')
def _load(folder):
  """Loads the folder; its `calls` are how often that took decoding."""

  def decode():
    load.calls += 1
    data = (folder / 'records').read_bytes()
    images = np.frombuffer(data, np.uint8).reshape(-1, 5, 2, 2)
    return {'images': images, 'labels': np.arange(len(images), dtype=np.int32)}

  def load():
    found = decoded.cached(str(folder), decode)
    for name, array in decode().items():
      assert found[name].dtype == array.dtype
      np.testing.assert_array_equal(found[name], array)
    assert set(found) == {'images', 'labels'}
    load.calls -= 1

  load.calls = 0
  return load


def test_the_second_time_nothing_is_decoded(folder, load):
  load()
  assert load.calls == 1
  load()
  load()
  assert load.calls == 1
  assert {path.name for path in folder.iterdir()} == {'records', 'info', COPY}


def _change_a_byte(folder):
  data = bytearray((folder / 'records').read_bytes())
  data[7] ^= 1
  (folder / 'records').write_bytes(data)


@pytest.mark.parametrize(
  'change',
  [
    _change_a_byte,
    lambda folder: (folder / 'info').write_text('about others'),
    lambda folder: (folder / 'info').rename(folder / 'information'),
    lambda folder: (folder / 'more').write_text(''),
  ],
)
def test_other_files_are_decoded_anew(folder, load, change):
  load()
  change(folder)
  load()
  assert load.calls == 2
  load()
  assert load.calls == 2


def _change_a_pixel(copy):
  data = bytearray(copy.read_bytes())
  data[data.index(bytes(range(20, 40))) + 3] ^= 1
  copy.write_bytes(data)


@pytest.mark.parametrize(
  'spoil',
  [
    _change_a_pixel,
    lambda copy: copy.write_bytes(copy.read_bytes()[:-30]),
    lambda copy: copy.write_bytes(b''),
    lambda copy: copy.write_bytes(b'hello'),
    lambda copy: np.savez(copy, images=np.zeros(3)),
    lambda copy: np.savez(copy, fingerprint=np.array([{}])),
    lambda copy: (copy.unlink(), copy.mkdir()),
  ],
)
def test_a_broken_copy_is_not_used(folder, load, spoil):
  load()
  spoil(folder / COPY)
  load()
  assert load.calls == 2


def test_where_it_cannot_be_written_every_time_is_the_first(
  folder, load, monkeypatch
):
  def fail(*_, **__):
    raise OSError('disk full')

  monkeypatch.setattr(decoded.np, 'savez', fail)
  load()
  load()
  assert load.calls == 2
  assert {path.name for path in folder.iterdir()} == {'records', 'info'}


def test_a_folder_that_is_not_local_is_decoded():
  arrays = {'images': np.zeros(3)}
  assert decoded.cached('gs://bucket/mnist', lambda: arrays) is arrays


def test_whatever_bit_of_a_copy_is_wrong_it_is_not_trusted(folder, load):
  load()
  copy = folder / COPY
  whole = copy.read_bytes()
  for i in range(0, len(whole), 7):
    data = bytearray(whole)
    data[i] ^= 1 << (i % 8)
    copy.write_bytes(data)
    load()  # Whatever is read, it is what the files hold.
