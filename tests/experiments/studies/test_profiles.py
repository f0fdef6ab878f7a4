"""Performance profiles."""

import math

import numpy as np

from experiments.studies import profiles

INF = math.inf
# Three arms under four conditions; the last target is reached by nobody.
TIMES = [
  [10, 30, 5, INF],
  [20, 10, 5, INF],
  [40, INF, 20, INF],
]


def test_profile_and_score_of_three_arms():
  np.testing.assert_array_equal(
    profiles.ratios(TIMES),
    [[1, 3, 1, INF], [2, 1, 1, INF], [4, INF, 4, INF]],
  )
  np.testing.assert_array_equal(
    profiles.profile(TIMES, [1, 2, 3, 4, 1e9]),
    [
      [0.5, 0.5, 0.75, 0.75, 0.75],
      [0.5, 0.75, 0.75, 0.75, 0.75],
      [0, 0, 0, 0.5, 0.5],
    ],
  )
  # In thirds of the width of 3, over four conditions.
  expected = np.array([3 + 1 + 3 + 0, 2 + 3 + 3 + 0, 0]) / 12
  np.testing.assert_allclose(profiles.score(TIMES), expected)
