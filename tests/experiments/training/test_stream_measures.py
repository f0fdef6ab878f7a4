"""The measures of streams, on small cases worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training import stream_measures as measures

# After task k (rows), the accuracy on task j (columns).
MATRIX = np.array([[0.9, 0.2, 0.1], [0.5, 0.8, 0.3], [0.6, 0.7, 1.0]])


@pytest.mark.parametrize(
  ('before', 'after', 'expected'),
  [
    (2.0, 0.5, 0.75),
    (2.0, 2.0, 0.0),
    (2.0, 3.0, 0.0),  # It rose.
    (2.0, 0.0, 1.0),
    (0.0, 0.0, 1.0),  # Nothing was left to learn.
    (0.0, 1.0, 0.0),
    (1e-8, 5e-9, 0.5),
  ],
)
def test_plasticity_is_the_removed_share_of_the_loss(before, after, expected):
  found = measures.plasticity(jnp.float32(before), jnp.float32(after))
  assert float(found) == pytest.approx(expected, abs=1e-6)


def test_units_are_dead_if_no_example_moves_them():
  first = jnp.array([[0.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
  second = jnp.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1e-9]])
  # One of two, one of three: of all units together.
  assert float(measures.dead_units([first, second])) == pytest.approx(2 / 5)


def test_the_effective_rank_is_that_of_the_singular_values():
  rank = lambda x: float(jax.jit(measures.effective_rank)(jnp.asarray(x)))
  # Four directions alike: e^(log 4).
  assert rank(3.0 * np.eye(8, 4, dtype=np.float32)) == pytest.approx(
    4, rel=1e-5
  )
  # One direction alone.
  assert rank(np.ones((8, 4), np.float32)) == pytest.approx(1, abs=1e-3)
  # Singular values 3 and 1: H = −¾ log ¾ − ¼ log ¼.
  values = np.diag([3.0, 1.0]).astype(np.float32)
  expected = (4 / 3) ** 0.75 * 4**0.25
  assert rank(values) == pytest.approx(expected, rel=1e-5)
  assert rank(np.zeros((8, 4), np.float32)) == 0
  broken = np.eye(4, dtype=np.float32)
  broken[1, 2] = np.nan
  assert np.isnan(rank(broken))


def test_small_singular_values_count():
  """Squared, it would be lost in what float32 rounds."""
  random = np.random.default_rng(0)
  left, right = (
    np.linalg.qr(random.normal(size=(n, 30)))[0] for n in (200, 30)
  )
  values = np.array([1.0] + [1e-4] * 29)
  shares = values / values.sum()
  expected = np.exp(-(shares * np.log(shares)).sum())
  found = measures.effective_rank(jnp.float32(left * values @ right.T))
  assert float(found) == pytest.approx(expected, rel=1e-3)


def test_weight_norm_is_of_all_parameters_together():
  params = {'kernel': jnp.array([[3.0, 0.0]]), 'bias': jnp.array([4.0])}
  assert float(measures.weight_norm(params)) == 5


@pytest.mark.parametrize(
  ('measure', 'expected'),
  [
    (measures.average_accuracy, [0.9, 1.3 / 2, 2.3 / 3]),
    (measures.backward_transfer, [np.nan, -0.4, (-0.3 - 0.1) / 2]),
    # The best of task 1 before task 3 was 0.9, of task 2 0.8.
    (measures.forgetting, [np.nan, 0.4, (0.3 + 0.1) / 2]),
  ],
)
def test_measures_of_a_matrix_worked_by_hand(measure, expected):
  np.testing.assert_allclose(measure(MATRIX), expected)
  # Those of many trials are those of each.
  many = np.random.default_rng(0).uniform(size=(4, 3, 3))
  np.testing.assert_array_equal(measure(many), [measure(x) for x in many])


def test_worst_case_includes_evaluations_within_tasks():
  evaluations = np.zeros((3, 2, 3))
  evaluations[:, -1] = MATRIX
  # In the middle of each task.
  evaluations[:, 0] = [[0.1, 0.1, 0.1], [0.4, 0.3, 0.0], [0.2, 0.9, 0.5]]
  # Of task 1 since its end: 0.4, 0.5, then 0.2, 0.6. Of task 2: 0.9, 0.7.
  expected = [np.nan, 0.4, (0.2 + 0.7) / 2]
  np.testing.assert_allclose(measures.min_accuracy(evaluations), expected)
  np.testing.assert_allclose(
    measures.worst_case_accuracy(evaluations),
    [0.9, 0.8 / 2 + 0.4 / 2, 1.0 / 3 + 2 / 3 * 0.45],
  )
  # Those of many trials are those of each.
  many = np.random.default_rng(0).uniform(size=(4, 3, 5, 3))
  for measure in (measures.min_accuracy, measures.worst_case_accuracy):
    np.testing.assert_array_equal(measure(many), [measure(x) for x in many])


def test_gap_to_fresh_is_of_every_tenth_task():
  online = np.full((2, 25), 0.5)
  fresh = np.full((2, 25), 0.9)
  fresh[:, 9], fresh[:, 19] = 0.6, 0.7
  online[1, 9] = 0.7
  found = measures.gap_to_fresh(online, fresh)
  np.testing.assert_allclose(found, [(0.1 + 0.2) / 2, (-0.1 + 0.2) / 2])
  assert np.isnan(measures.gap_to_fresh(online[:, :9], fresh[:, :9])).all()


@pytest.mark.parametrize(
  ('tasks', 'first', 'last'), [(1, 0, 0), (5, 0, 4), (20, 0.5, 18.5)]
)
def test_tenth_of_the_tasks_is_at_least_one(tasks, first, last):
  values = {'online_accuracy': np.arange(tasks, dtype=float)[None]}
  found = measures.summaries(values)
  assert found['online_accuracy_first_tenth'] == first
  assert found['online_accuracy_last_tenth'] == last
