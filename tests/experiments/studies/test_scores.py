"""What counts of each seed: accuracy, time to target, and their summary."""

import math

import numpy as np
import pytest

from experiments.studies import scores
from tests.experiments.studies.results import frame
from tests.experiments.studies.results import row
from tests.experiments.studies.results import rows

NAN, INF = math.nan, math.inf


def test_the_target_is_the_median_of_adamw():
  results = [
    *rows(adamw=[0.1, 0.1], full=[0.9]),
    *(row('adamw', i, x, ruleset='tuned') for i, x in enumerate([0.5, 0.7])),
  ]
  target = lambda *args: scores.target(frame(results), *args)
  assert target('tuned') == pytest.approx(0.6)
  assert target('default') == 0.1
  assert math.isnan(target('stable'))
  # What diverged counts as chance.
  results.append(row('adamw', 2, NAN, 'diverged', ruleset='tuned'))
  assert target('tuned') == 0.5


def test_accuracy_is_chance_where_diverged_and_nan_where_missing():
  results = [
    row('sgd', 0, 0.4, condition='b'),
    row('sgd', 0, 0.5, validation_accuracy=0.6),
    row('sgd', 1, 0.7, 'diverged'),
    row('sgd', 2, 0.8, 'missing'),
  ]
  chances = {'here': 0.1, 'b': 0.2}
  table = frame(results).drop(columns='accuracy')
  found = scores.with_accuracy(table, chances)
  # In the order of the conditions.
  np.testing.assert_array_equal(found['accuracy'], [0.5, 0.1, NAN, 0.4])
  found = scores.with_accuracy(table, chances, 'validation_accuracy')
  np.testing.assert_array_equal(found['accuracy'], [0.6, 0.1, NAN, NAN])


def test_summary_has_a_row_for_each_arm_in_order():
  results = [
    row('muon', 0, 0.5, steps_to_target=100.0),
    row('muon', 1, 0.7, steps_to_target=INF),
    row('muon', 2, 0.9, 'diverged', steps_to_target=50.0),
    row('muon', 3, NAN, 'missing'),
    row('adam', 0, 0.6),
    row('sgd', 0, NAN, 'missing'),
    row('adam', 0, 0.3, condition='untimed'),
  ]
  found = scores.summary(frame(results), ['here'])
  assert found['arm'].to_list() == ['muon', 'adam', 'sgd', 'adam']
  assert found['seeds_planned'].to_list() == [4, 1, 1, 1]
  assert found['seeds'].to_list() == [3, 1, 0, 1]
  assert found['diverged'].to_list() == [1, 0, 0, 0]
  mean = (0.5 + 0.7 + 0.1) / 3
  np.testing.assert_allclose(found['mean'], [mean, 0.6, NAN, 0.3])
  sd = np.std([0.5, 0.7, 0.1], ddof=1)
  np.testing.assert_allclose(found['sd'], [sd, NAN, NAN, NAN])
  # What diverged never reaches the target, whatever is written.
  np.testing.assert_array_equal(found['steps'], [INF, 100, NAN, NAN])
  np.testing.assert_array_equal(found['seconds'], [0.5, 0.5, NAN, NAN])
  finals = scores.finals(frame(results))
  assert len(finals) == 5
  assert finals['steps_to_target'].to_list() == [100, INF, INF, 100, 100]


def test_time_to_target():
  accuracies = [
    [0.2, 0.5, 0.6, 0.4],  # Reached, and lost again.
    [0.6, 0.6, 0.6, 0.6],
    [0.2, 0.3, 0.4, 0.49],
    [0.4, NAN, NAN, NAN],
  ]
  steps = [10, 20, 30, 40]
  found = scores.time_to_target(accuracies, steps, 0.5)
  np.testing.assert_array_equal(found, [20, 10, INF, INF])
  found = scores.time_to_target(np.empty((2, 0)), [], 0.5)
  np.testing.assert_array_equal(found, [INF, INF])
