"""The tuner, on objectives whose best is known."""

import math

import numpy as np
import pytest

from experiments import optimizers
from experiments.studies import tuner
from experiments.studies.tuner import Budget

RATE = 'learning_rate'
BUDGET = Budget()


def tune(objectives, budget=BUDGET):
  """Tunes until nothing is missing.

  Args:
    objectives: by arm, from a trial's numbers and a seed, the score.
    budget: of each arm.

  Returns:
    The tuner, and by arm the batches that were asked for, in order.
  """
  arms = {name: optimizers.ARMS[name] for name in objectives}
  known, asked = {}, {name: [] for name in arms}

  def key(arm, batch):
    return arm, str(batch)

  while True:
    found = lambda arm, batch: known.get(key(arm, batch))
    now = tuner.Tuner(arms, budget, found)
    missing = [
      (arm, stage.batch)
      for arm in arms
      for stage in now.stages(arm)
      if stage.batch and found(arm, stage.batch) is None
    ]
    if not missing:
      return now, asked
    # One at a time, as processes do it that are slow.
    arm, batch = missing[0]
    asked[arm].append(batch)
    known[key(arm, batch)] = np.array(
      [
        [objectives[arm](numbers, seed) for seed in batch.seeds]
        for numbers in batch.trials
      ]
    )


def peak(at):
  """An accuracy with its best at a learning rate, the same for all seeds."""
  return lambda numbers, _: -(abs(math.log10(numbers[RATE] / at)) ** 2)


def size(batches):
  """How many trials and seeds that is."""
  return sum(len(batch.trials) * len(batch.seeds) for batch in batches)


def test_the_rate_is_found_inside_of_the_range():
  found, asked = tune({'sgd': peak(0.2)})
  assert found.extensions == (0, 0)
  assert found.best('sgd')[RATE] == pytest.approx(0.2, rel=0.3)
  assert size(asked['sgd'][:-1]) == BUDGET.trials
  assert size(asked['sgd'][-1:]) == BUDGET.finalists * BUDGET.seeds


def test_ranges_are_extended_for_all_arms_by_equal_trials():
  found, asked = tune(
    {'sgd': peak(0.1), 'adam': peak(0.06), 'muon': peak(0.02)}
  )
  # Adam's range ends at 0.01; half a decade a step, and one that is worse.
  assert found.extensions == (0, 3)
  for name in asked:
    rates = [x[RATE] for batch in asked[name][:4] for x in batch.trials]
    assert len(rates) == BUDGET.rates + 3
    assert np.allclose(np.diff(np.log10(rates)), 0.5, atol=1e-4)
  sizes = {name: [size([x]) for x in asked[name]] for name in asked}
  assert sizes['sgd'] == sizes['adam'] == sizes['muon']
  assert size(asked['sgd'][:-1]) == BUDGET.trials
  assert found.best('adam')[RATE] == pytest.approx(0.06, rel=0.3)


def test_ranges_are_extended_below_and_not_without_end():
  found, asked = tune({'sgd': peak(1e-6), 'adam': peak(1e-3)})
  assert found.extensions == (BUDGET.rounds, 0)
  assert size(asked['adam'][:-1]) == BUDGET.trials


def test_a_diverged_trial_is_the_worst_and_counts():
  def cliff(numbers, _):
    return -math.inf if numbers[RATE] > 0.3 else numbers[RATE]

  found, asked = tune({'sgd': cliff})
  assert found.best('sgd')[RATE] <= 0.3
  assert size(asked['sgd'][:-1]) == BUDGET.trials


def test_where_all_diverge_shorter_steps_are_tried():
  found, asked = tune({'sgd': lambda *_: -math.inf, 'adam': peak(1e-3)})
  assert found.extensions == (BUDGET.rounds, 0)
  assert found.best('sgd') is not None
  assert size(asked['sgd']) == size(asked['adam'])


def test_finalists_have_fresh_seeds_whose_mean_decides():
  def lucky(numbers, seed):
    # On the seed of the search the largest rate looks best.
    return numbers[RATE] if seed == 0 else -abs(numbers[RATE] - 0.3)

  found, asked = tune({'sgd': lucky}, Budget(rounds=0))
  *tried, final = asked['sgd']
  assert {seed for batch in tried for seed in batch.seeds} == {0}
  assert 0 not in final.seeds
  assert len(set(final.seeds)) == BUDGET.seeds
  rates = [x[RATE] for x in final.trials]
  assert found.best('sgd')[RATE] == min(rates, key=lambda x: abs(x - 0.3))


def test_at_most_three_hyperparameters_are_tuned_within_their_ranges():
  for arm in optimizers.ARMS.values():
    names = tuner.searched(arm)
    assert names[0] == RATE
    assert len(names) == min(3, len(arm.hyperparameters))
    ranges = {each: arm.hyperparameters[each] for each in names}
    for numbers in tuner.quasi_random(ranges, 10):
      for each, number in numbers.items():
        own = arm.hyperparameters[each]
        assert own.low <= number <= own.high, arm.name


def test_points_are_the_same_every_time_and_spread_out():
  ranges = {RATE: optimizers.Range(1, 1, 100)}
  points = tuner.quasi_random(ranges, 16)
  assert points == tuner.quasi_random(ranges, 16)
  logs = np.log10([each[RATE] for each in points]) / 2
  assert np.all(np.histogram(logs, 4, (0, 1))[0] >= 3)


def test_linear_range_is_sampled_linearly():
  ranges = {'x': optimizers.Range(1, 0, 1, log=False)}
  points = [each['x'] for each in tuner.quasi_random(ranges, 64)]
  assert np.mean(points) == pytest.approx(0.5, abs=0.05)


def test_a_budget_without_a_search_is_refused():
  with pytest.raises(ValueError, match='too few trials'):
    Budget(rates=5, trials=11, rounds=3)
