"""Performance profiles."""

import math

import numpy as np
import pytest

from experiments.studies import profiles

NAN, INF = math.nan, math.inf
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


def test_conditions_in_which_an_arm_was_not_run_are_left_out():
  times = np.array(TIMES, float)
  times[2, 1] = NAN
  kept = times[:, [0, 2, 3]]
  for function in (profiles.ratios, profiles.score):
    np.testing.assert_array_equal(function(times), function(kept))
  np.testing.assert_array_equal(
    profiles.profile(times, [1, 2]), profiles.profile(kept, [1, 2])
  )


@pytest.mark.parametrize('times', [np.full((2, 3), NAN), np.empty((2, 0))])
def test_without_a_condition_there_is_no_profile(times):
  assert np.isnan(profiles.profile(times, [1, 2, 3])).all()
  assert profiles.profile(times, [1, 2, 3]).shape == (2, 3)
  assert np.isnan(profiles.score(times)).all()
