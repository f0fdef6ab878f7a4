"""Training sets made smaller or noisier; the test set is never touched."""

import jax
from jax.typing import ArrayLike
import numpy as np

from experiments import errors
from experiments.data.dataset import Dataset


def validation(dataset: Dataset) -> Dataset:
  """Holds out a part of the training set, to choose settings by.

  Of every class the last examples are held out, as many as `Spec.validation`
  says: a share of it, rounded, but at least one; or its part of a total, in
  proportion. There is no chance in it: the parts are the same for every seed
  and every arm. The test set is not looked at.

  Returns:
    A data set of the same specification, whose test part is what was held out,
    and whose training part is the rest; each in the order of the training set.

  Raises:
    InvalidValueError: the training set is too small to be split like that.
  """
  labels = dataset.train_labels
  classes, counts = np.unique(labels, return_counts=True)
  held_out = np.zeros(len(labels), bool)
  sizes = _validation_sizes(counts, dataset.spec.validation)
  for label, size in zip(classes, sizes, strict=True):
    members = np.flatnonzero(labels == label)
    held_out[members[len(members) - size :]] = True
  if held_out.all() or not held_out.any():
    raise errors.InvalidValueError(
      f'{dataset.spec.name} has {len(labels)} training examples of '
      f'{len(classes)} classes, too few to hold out '
      f'{dataset.spec.validation} of them for validation'
    )
  return Dataset(
    dataset.spec,
    train_images=dataset.train_images[~held_out],
    train_labels=labels[~held_out],
    test_images=dataset.train_images[held_out],
    test_labels=labels[held_out],
  )


def _validation_sizes(counts: np.ndarray, size: int | float) -> np.ndarray:
  """How many examples of each class to hold out, of so many that there are."""
  if isinstance(size, float):
    return np.clip(np.round(size * counts).astype(int), 1, counts - 1)
  size = min(size, counts.sum())
  # The largest remainders are rounded up, so that the total is exact.
  exact = size * counts / counts.sum()
  sizes = np.floor(exact).astype(int)
  up = np.argsort(sizes - exact, kind='stable')[: size - sizes.sum()]
  sizes[up] += 1
  return sizes


def stratified_subset(
  labels: ArrayLike, fraction: float, key: jax.Array
) -> np.ndarray:
  """Chooses the same fraction of every class at random.

  A class of n examples gives max(1, round(fraction · n)), whatever the key,
  so that the subsets of all seeds have equal sizes. Subsets are nested: with
  the same key, a smaller fraction's is part of a larger one's.

  Args:
    labels: integer [n].
    fraction: how much to keep, in (0, 1]; 1 keeps everything.
    key: a typed JAX key.

  Returns:
    int32, the indices of the examples to keep, ascending.
  """
  labels = np.asarray(labels)
  # One order for all fractions, from which each takes the first: nested.
  order = np.asarray(jax.random.permutation(key, len(labels)))
  kept = []
  for label in np.unique(labels):
    members = order[labels[order] == label]
    kept.append(members[: max(1, round(fraction * len(members)))])
  return np.sort(np.concatenate(kept)).astype(np.int32)


def subset(indices: np.ndarray, size: int, key: jax.Array) -> np.ndarray:
  """Chooses so many of some indices at random; subsets of a key are nested.

  Args:
    indices: integer [n].
    size: how many to keep, at most n.
    key: a typed JAX key.

  Returns:
    [size], in the order of `indices`.
  """
  order = np.asarray(jax.random.permutation(key, len(indices)))
  return indices[np.sort(order[:size])]


def symmetric_label_noise(
  labels: ArrayLike, noise: float, num_classes: int, key: jax.Array
) -> np.ndarray:
  """Replaces an exact share of the labels by wrong ones.

  Of the two definitions in use this is the one without self-flips: of n labels
  exactly round(noise · n), chosen at random over all classes, become one of the
  other `num_classes` − 1 labels, each as likely as the others. (The other draws
  from all classes, so that only noise · (1 − 1 / num_classes) turn wrong.)
  With the same key, what is wrong at a lower noise is wrong in the same way at
  a higher one.

  Args:
    labels: integer [n], in [0, num_classes).
    noise: the share of wrong labels, in [0, 1).
    num_classes: how many classes there are, at least 2.
    key: a typed JAX key.

  Returns:
    int32 [n], the noisy labels.
  """
  labels = np.asarray(labels, np.int32)
  order_key, shift_key = jax.random.split(key)
  order = np.asarray(jax.random.permutation(order_key, len(labels)))
  # A shift of 1 to num_classes − 1 around the classes never comes back.
  shifts = jax.random.randint(shift_key, (len(labels),), 1, num_classes)
  wrong = order[: round(noise * len(labels))]
  noisy = labels.copy()
  noisy[wrong] = (labels[wrong] + np.asarray(shifts)[wrong]) % num_classes
  return noisy
