"""The random draws of a task: all permutations are equally likely."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.data import streams

KEYS = jax.vmap(jax.random.key)(jnp.arange(2400))


def _counts(rows):
  """How often each permutation of its length is among the rows."""
  found = {p: 0 for p in itertools.permutations(range(rows.shape[1]))}
  for row in rows.tolist():
    found[tuple(row)] += 1
  return list(found.values())


@pytest.mark.parametrize(
  'draw',
  [
    lambda key: streams.permute_labels(key, jnp.arange(4), 4),
    lambda key: streams.pixel_order(key, (7, 2, 2, 3)),
    lambda key: streams.class_positions(key, 4),
  ],
  ids=['labels', 'pixels', 'classes'],
)
def test_permutations_are_equally_likely(draw):
  counts = _counts(np.asarray(jax.jit(jax.vmap(draw))(KEYS)))
  assert len(counts) == 24
  assert stats.chisquare(counts).pvalue > 1e-3


def test_random_labels_are_uniform_and_independent():
  found = streams.random_labels(jax.random.key(0), 30_000, 10)
  counts = np.bincount(np.asarray(found), minlength=10)
  assert stats.chisquare(counts).pvalue > 1e-3
  other = streams.random_labels(jax.random.key(1), 30_000, 10)
  same = int(jnp.sum(found == other))
  assert stats.binomtest(same, 30_000, 0.1).pvalue > 1e-3


def test_pixels_move_with_all_their_channels():
  images = jnp.arange(2 * 2 * 3 * 2, dtype=jnp.uint8).reshape(2, 2, 3, 2)
  order = jnp.array([5, 0, 4, 1, 3, 2])
  found = streams.permute_inputs(images, order)
  assert found.shape == images.shape
  assert found.dtype == images.dtype
  flat, before = (np.asarray(x).reshape(2, 6, 2) for x in (found, images))
  for place, source in enumerate(order.tolist()):
    np.testing.assert_array_equal(flat[:, place], before[:, source])
