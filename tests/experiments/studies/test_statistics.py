"""Each statistic against an independent computation, and on simulated data."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from experiments.studies import statistics

NAN, INF = math.nan, math.inf
STUDIES = 2000

P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), max_size=7)


def _accuracies(seeds, shape=(), mean=0.85, effect=0.001, spread=0.002):
  """Two arms whose seeds have something in common: [seeds, …] each."""
  draws = np.random.default_rng(7)
  common = draws.normal(mean, 0.003, (seeds, *shape))
  arms = common + draws.normal(0, spread / math.sqrt(2), (2, *common.shape))
  return arms[0] + effect, arms[1]


@pytest.mark.parametrize('n', [2, 3, 10, 20])
def test_a_comparison_is_what_scipy_says(n):
  arm, reference = _accuracies(n)
  found = statistics.compare(arm - reference)
  test = stats.ttest_rel(arm, reference)
  interval = test.confidence_interval(0.95)
  mean = np.mean(arm) - np.mean(reference)
  # Var(x − y) = Var(x) + Var(y) − 2 Cov(x, y).
  covariance = np.cov(arm, reference)
  sd = math.sqrt(np.trace(covariance) - 2 * covariance[0, 1])
  expected = (
    n, mean, interval.low, interval.high, test.pvalue, mean / sd,
    math.ceil((2.8 * sd / mean) ** 2),
  )  # fmt: skip
  np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_whole_curves_are_compared_at_once():
  arm, reference = _accuracies(5, (4, 3))
  n, *whole = statistics.compare(arm - reference)
  for at in np.ndindex(4, 3):
    one = statistics.compare((arm - reference)[:, *at])
    np.testing.assert_allclose((n, *(x[at] for x in whole)), one, rtol=1e-12)


@pytest.mark.parametrize(
  ('differences', 'expected'),
  [
    ([], (0, NAN, NAN, NAN, NAN, NAN, NAN)),
    ([0.25], (1, 0.25, NAN, NAN, NAN, NAN, NAN)),
    ([0.25, 0.25], (2, 0.25, 0.25, 0.25, 0, INF, 0)),
    ([-0.25] * 9, (9, -0.25, -0.25, -0.25, 0, -INF, 0)),
    ([0.0] * 9, (9, 0, 0, 0, 1, 0, INF)),
  ],
)
def test_too_few_pairs_and_equal_differences(differences, expected):
  np.testing.assert_array_equal(statistics.compare(differences), expected)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_rounding_is_no_spread(dtype):
  arm = np.array([0.9, 0.7, 0.4, 0.8], dtype).astype(float)
  reference = np.array([0.8, 0.6, 0.3, 0.7], dtype).astype(float)
  found = statistics.compare(arm - reference)
  assert found.mean_difference == pytest.approx(0.1, rel=1e-6)
  assert found.ci_low == found.ci_high == found.mean_difference
  assert found[4:] == (0, INF, 0)
  # Nor is it a difference.
  changes = np.array([0.1, 0.2, -0.3, 0.0], dtype).astype(float)
  nothing = statistics.compare(changes)
  assert (nothing.mean_difference, nothing.p) == (0, 1)
  assert (nothing.effect_size, nothing.seeds_needed) == (0, INF)


def test_an_interval_needs_no_more_than_mean_deviation_and_count():
  x = np.random.default_rng(3).normal(0.5, 0.1, (5, 7))
  expected = statistics.t_interval(x)
  found = statistics.t_interval_of(x.mean(0), x.std(0, ddof=1), [5] * 7)
  np.testing.assert_allclose(found, expected)
  assert np.isnan(
    statistics.t_interval_of([0.5, 0.5], [np.nan, 0], [1, 0])
  ).all()


def test_as_many_seeds_as_needed_find_four_of_five_differences():
  # Of two with the mean .001 and the deviation .002: (2.8 · 2)² = 31.36.
  pair = 0.001 + np.array([1, -1]) * 0.002 / math.sqrt(2)
  n = int(statistics.compare(pair).seeds_needed)
  assert n == 32
  arm, reference = _accuracies(n, (STUDIES,), effect=0.001)
  power = np.mean(statistics.compare(arm - reference).p < 0.05)
  assert 0.76 <= power <= 0.83  # A little less than 80 %: t is not normal.


def _closed_testing(p):
  """Holm by its definition.

  A hypothesis is rejected if every intersection that it is part of is rejected
  by Bonferroni's test.
  """
  tested = [i for i, each in enumerate(p) if not math.isnan(each)]
  adjusted = [NAN] * len(p)
  for i in tested:
    others = [j for j in tested if j != i]
    families = (
      (i, *chosen)
      for size in range(len(tested))
      for chosen in itertools.combinations(others, size)
    )
    adjusted[i] = max(
      min(1, len(family) * min(p[j] for j in family)) for family in families
    )
  return adjusted


@given(P_VALUES)
def test_holm_is_closed_testing_by_bonferroni(p):
  np.testing.assert_array_equal(statistics.holm(p), _closed_testing(p))
