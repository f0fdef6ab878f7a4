"""Every data set has the promised form; missing ones say what to do."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import data
from experiments.data import published
from tests.experiments.data import small

IMAGE_SHAPES = {
  'digits': (8, 8, 1),
  'mnist': (28, 28, 1),
  'fashion_mnist': (28, 28, 1),
  'cifar10': (32, 32, 3),
  'synthetic': (28, 28, 1),
}


@pytest.mark.parametrize('name', data.NAMES)
def test_shapes_dtypes_and_ranges_of_every_data_set(name, tmp_path):
  if name in published.PUBLISHED:
    small.prepare(name, tmp_path)
  found = data.load(name, data_dir=str(tmp_path))
  assert found.spec.name == name
  assert (
    len(found.spec.mean) == len(found.spec.std) == found.train_images.shape[-1]
  )
  for images, labels in (
    (found.train_images, found.train_labels),
    (found.test_images, found.test_labels),
  ):
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert images.shape == (len(labels), *IMAGE_SHAPES[name])
    assert len(labels) > 0
    assert images.max() <= found.spec.pixel_max
    assert labels.min() >= 0
    assert labels.max() < found.spec.num_classes
  assert found.spec.augment == (name == 'cifar10')
  assert found.spec.pixel_max == (16 if name == 'digits' else 255)


@pytest.mark.parametrize('name', ['digits', 'synthetic'])
def test_loading_again_gives_the_same(name):
  one, other = data.load(name), data.load(name)
  np.testing.assert_array_equal(one.train_images, other.train_images)
  np.testing.assert_array_equal(one.test_labels, other.test_labels)


def test_digits_are_complete_and_split_by_class():
  from sklearn.datasets import load_digits

  found = data.load('digits')
  images = np.concatenate([found.train_images, found.test_images])
  labels = np.concatenate([found.train_labels, found.test_labels])
  original = load_digits()

  def rows(images, labels):
    return sorted(
      map(tuple, np.column_stack([labels, images.reshape(-1, 64)]).tolist())
    )

  assert rows(images, labels) == rows(original.images, original.target)
  train, everything = np.bincount(found.train_labels), np.bincount(labels)
  assert (abs(train - 0.8 * everything) <= 1).all()
  assert found.train_images.max() == found.spec.pixel_max


def test_synthetic_takes_its_shape_from_its_name():
  found = data.load('synthetic:6x4x3:7:20:9')
  assert found.train_images.shape == (20, 6, 4, 3)
  assert found.test_images.shape == (9, 6, 4, 3)
  assert found.spec.num_classes == 7
  assert set(found.train_labels) == set(range(7))
  assert len(data.load('synthetic:6x4x3').train_labels) == 4096


@pytest.mark.parametrize(
  ('name', 'allowed'),
  [
    *(('imagenet', ', '.join(data.NAMES)), ('', ', '.join(data.NAMES))),
    *(('synthetic:5x5', 'HxWxC'), ('synthetic:5x0x1', 'HxWxC')),
  ],
)
def test_unknown_name_is_refused_with_the_known_ones(name, allowed):
  with pytest.raises(ValueError, match=f"{allowed}.*'{name}'"):
    data.load(name)


def test_missing_data_set_names_the_command(tmp_path, monkeypatch):
  monkeypatch.setitem(
    published.PUBLISHED,
    'mnist',
    dataclasses.replace(published.PUBLISHED['mnist'], system_dir=str(tmp_path)),
  )
  data_dir = str(tmp_path / 'my data')
  with pytest.raises(data.DatasetNotPreparedError) as info:
    data.load('mnist', data_dir=data_dir)
  assert isinstance(info.value, FileNotFoundError)
  assert (
    f'`python -m experiments.prepare mnist --idx_dir={tmp_path} '
    f"'--data_dir={data_dir}'`"
  ) in str(info.value)


def test_data_dir_defaults_to_our_own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
  own = tmp_path / '.cache' / 'neuroplastic_optax' / 'tfds'
  assert published.resolve_data_dir(None) == str(own)
  # TFDS's own folder has it, as earlier versions of `prepare` left it.
  small.prepare('cifar10', tmp_path / 'tensorflow_datasets')
  with pytest.raises(data.DatasetNotPreparedError) as info:
    data.load('cifar10')
  assert str(info.value).endswith(
    f'not prepared in {own}: run `python -m experiments.prepare cifar10` '
    'first, or pass --data_dir=~/tensorflow_datasets, where it is'
  )
  assert data.load('cifar10', data_dir='~/tensorflow_datasets')
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'shared'))
  assert published.resolve_data_dir(None) == str(tmp_path / 'shared')
  assert published.resolve_data_dir('~/data') == str(tmp_path / 'data')


def test_digits_do_not_import_tensorflow_datasets():
  code = (
    'import sys; from experiments import data; data.load("digits"); '
    'sys.exit("tensorflow_datasets" in sys.modules)'
  )
  root = pathlib.Path(__file__).parents[3]
  subprocess.run([sys.executable, '-c', code], check=True, cwd=root)
