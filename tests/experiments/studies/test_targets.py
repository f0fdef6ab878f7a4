"""Time to target."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from experiments import errors
from experiments.studies import targets
from tests.experiments.studies import tables

NAN, INF = math.nan, math.inf


def test_the_target_is_the_median_of_tuned_adamw():
  results = [
    *tables.rows(adamw=[0.1, 0.1], full=[0.9]),
    *(tables.row('adamw', i, x, ruleset='tuned') for i, x in enumerate([5, 7])),
    tables.row('adamw', 3, 0.95, ruleset='tuned', condition='other'),
  ]
  results[3]['test_accuracy'], results[4]['test_accuracy'] = 0.5, 0.7
  find = lambda *args: targets.target_accuracy(results, 'noise_0.2', *args)
  assert find(0.1) == pytest.approx(0.6)
  results.append(tables.row('adamw', 2, '', 'diverged', ruleset='tuned'))
  assert find(0.1) == 0.5
  assert find(0.6) == 0.6
  assert find(0.1, 'adamw', 'default') == 0.1
  assert math.isnan(find(0.1, 'muon'))
  assert math.isnan(targets.target_accuracy(results, 'nowhere', 0.1))


def test_time_to_target():
  accuracies = [
    [0.2, 0.5, 0.6, 0.4],  # Reached, and lost again.
    [0.6, 0.6, 0.6, 0.6],
    [0.2, 0.3, 0.4, 0.49],
    [0.4, NAN, NAN, NAN],
  ]
  steps = [10, 20, 30, 40]
  found = targets.time_to_target(accuracies, steps, 0.5)
  np.testing.assert_array_equal(found, [20, 10, INF, INF])
  seconds = np.outer([1, 2, 3, 4], steps)
  found = targets.time_to_target(accuracies, seconds, 0.5)
  np.testing.assert_array_equal(found, [20, 20, INF, INF])
  none = targets.time_to_target(accuracies, steps, NAN)
  assert none.shape == (4,)
  assert np.isnan(none).all()
  found = targets.time_to_target(np.empty((2, 0)), [], 0.5)
  np.testing.assert_array_equal(found, [INF, INF])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_the_first_evaluation_that_is_good_enough(accuracies, target):
  times = np.cumsum(np.arange(1, len(accuracies) + 1))
  (found,) = targets.time_to_target([accuracies], times, target)
  expected = INF
  for time, accuracy in zip(times, accuracies, strict=True):
    if accuracy >= target:
      expected = time
      break
  assert found == expected


def test_median_times():
  time = lambda arm, seed, steps, **changes: tables.row(
    arm, seed, 0.5, steps_to_target=steps, **changes
  )
  results = [
    *(time('muon', i, x) for i, x in enumerate([100, 'inf', 300])),
    *(time('sgd', i, x) for i, x in enumerate([100, 'inf'])),
    time('adam', 0, 100),
    time('adam', 1, 100, status='diverged'),
    time('adam', 2, 100, status='missing'),
    time('muon', 0, 50, condition='clean'),
    time('sgd', 0, '', condition='clean'),
    time('muon', 0, 1, condition='clean', ruleset='tuned'),
  ]
  found = targets.median_times(results, 'default', 'steps_to_target')
  arms, conditions, times = found
  assert (arms, conditions) == (
    ['adam', 'muon', 'sgd'],
    ['clean', 'noise_0.2'],
  )
  np.testing.assert_array_equal(times, [[NAN, INF], [50, 300], [NAN, INF]])
  seconds = targets.median_times(results, 'tuned', 'seconds_to_target')
  assert seconds == (['muon'], ['clean'], [[0.5]])
  assert targets.median_times([], 'tuned', 'steps_to_target')[:2] == ([], [])


@pytest.mark.parametrize('steps', [0, -5, 'soon'])
def test_times_that_cannot_be(steps):
  results = [tables.row('sgd', 0, 0.5, steps_to_target=steps)]
  with pytest.raises(errors.StorageError, match=f'steps_to_target .*{steps}'):
    targets.median_times(results, 'default', 'steps_to_target')
