"""Subsets are stratified and nested; the noise has exactly its rate."""

import itertools

import jax
import numpy as np
import pytest

from experiments import data
from experiments.data import subsets

FRACTIONS = (0.001, 0.1, 0.25, 0.5, 0.9, 1.0)


@pytest.fixture(name='labels')
def _labels():
  """Classes of very different sizes, in no order; 3 does not occur."""
  counts = {0: 200, 1: 31, 2: 1, 4: 300}
  labels = np.repeat(list(counts), list(counts.values()))
  return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize('fraction', FRACTIONS)
def test_subset_takes_the_fraction_of_every_class(labels, fraction):
  for seed in range(3):
    kept = subsets.stratified_subset(labels, fraction, jax.random.key(seed))
    assert kept.dtype == np.int32
    assert (np.diff(kept) > 0).all()
    for label, count in zip(
      *np.unique(labels, return_counts=True), strict=True
    ):
      expected = max(1, round(fraction * count))
      assert (labels[kept] == label).sum() == expected


def test_smaller_subsets_are_part_of_larger_ones(labels):
  key = jax.random.key(7)
  chain = [set(subsets.stratified_subset(labels, f, key)) for f in FRACTIONS]
  for smaller, larger in itertools.pairwise(chain):
    assert smaller < larger


@pytest.mark.parametrize(
  'draw',
  [
    lambda x, key: subsets.stratified_subset(x, 0.5, key),
    lambda x, key: subsets.symmetric_label_noise(x, 0.4, 5, key),
  ],
  ids=['subset', 'noise'],
)
def test_subsets_and_noise_depend_on_the_key_alone(labels, draw):
  one, again, other = (draw(labels, jax.random.key(x)) for x in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert not np.array_equal(one, other)


@pytest.mark.parametrize('noise', [0.0, 0.333, 0.99])
@pytest.mark.parametrize('num_classes', [5, 10])
def test_noise_makes_exactly_its_share_wrong(labels, noise, num_classes):
  clean = labels.copy()
  noisy = subsets.symmetric_label_noise(
    labels, noise, num_classes, jax.random.key(0)
  )
  assert noisy.dtype == np.int32
  assert (noisy != labels).sum() == round(noise * len(labels))
  assert noisy.min() >= 0
  assert noisy.max() < num_classes
  np.testing.assert_array_equal(labels, clean)


def test_wrong_labels_are_uniform_over_the_other_classes():
  labels = np.full(9000, 3)
  noisy = subsets.symmetric_label_noise(labels, 0.5, 10, jax.random.key(0))
  counts = np.bincount(noisy, minlength=10)
  assert counts[3] == 4500
  # 500 are expected of each of the others: within five standard deviations.
  assert (abs(np.delete(counts, 3) - 500) < 5 * np.sqrt(500)).all()


def test_lower_noise_is_part_of_higher_noise(labels):
  key = jax.random.key(3)
  low, high = (
    subsets.symmetric_label_noise(labels, noise, 5, key) for noise in (0.2, 0.4)
  )
  wrong = low != labels
  np.testing.assert_array_equal(low[wrong], high[wrong])


class _TestSetUntouched(data.Dataset):
  """A data set whose test part must not be looked at."""

  @property
  def test_images(self):
    raise AssertionError('a test image was touched')

  @property
  def test_labels(self):
    raise AssertionError('a test label was touched')

  def __init__(self, spec, labels):
    # Every image is its own index.
    images = np.arange(len(labels)).reshape(-1, 1, 1, 1)
    vars(self).update(spec=spec, train_images=images, train_labels=labels)


@pytest.mark.parametrize('validation', [0.15, 531, 100, 99, 10, 1])
def test_the_last_of_every_class_are_held_out(labels, validation):
  spec = data.Spec('mine', shape=(1, 1, 1), validation=validation)
  found = data.validation(_TestSetUntouched(spec, labels))
  assert found.spec is spec
  rest, held_out = found.train_images.ravel(), found.test_images.ravel()
  np.testing.assert_array_equal(found.train_labels, labels[rest])
  np.testing.assert_array_equal(found.test_labels, labels[held_out])
  np.testing.assert_array_equal(
    np.sort([*rest, *held_out]), np.arange(len(labels))
  )
  # Each in the order of the training set.
  assert (np.diff(rest) > 0).all()
  assert (np.diff(held_out) > 0).all()
  for label in np.unique(labels):
    mine = held_out[labels[held_out] == label]
    others = rest[labels[rest] == label]
    assert not len(mine) or not len(others) or others.max() < mine.min()
  sizes = np.bincount(labels[held_out], minlength=5)
  if validation == 0.15:
    assert sizes.tolist() == [30, 5, 0, 0, 45]
  else:
    assert sizes.sum() == validation
    exact = np.bincount(labels) * validation / len(labels)
    assert (abs(sizes - exact) < 1).all()


@pytest.mark.parametrize(
  ('labels', 'validation'),
  [([0, 1, 2], 0.15), ([0, 0, 1], 3), ([0, 0, 1], 9), ([0, 0, 1], 0)],
)
def test_too_few_to_hold_any_out(labels, validation):
  spec = data.Spec('mine', shape=(1, 1, 1), validation=validation)
  with pytest.raises(ValueError, match=r'mine has 3 training examples of'):
    data.validation(_TestSetUntouched(spec, np.array(labels)))


def test_held_out_parts_have_the_published_sizes():
  for name in ('mnist', 'fashion_mnist', 'cifar10'):
    assert data.spec(name).validation == 5_000
  for name in ('digits', 'synthetic'):
    assert data.spec(name).validation == 0.15
