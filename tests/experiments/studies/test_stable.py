"""Values that are good under every condition under which an arm was tuned."""

import json

import pandas as pd
import pytest

from experiments.studies import stable

FIRST = 1_000_000


def trials(condition, arm, accuracies, seed=FIRST):
  """Trials of some rates; None is a trial that diverged."""
  return pd.DataFrame(
    {
      'condition': condition,
      'arm': arm,
      'hyperparameters': json.dumps({'learning_rate': rate}),
      'seed': seed,
      'validation_accuracy': accuracy,
      'status': 'diverged' if accuracy is None else 'finished',
    }
    for rate, accuracy in accuracies.items()
  ).astype({'validation_accuracy': float})


def keep(*tables):
  found = stable.keep(pd.concat(tables))
  return {
    each.arm: (json.loads(each.hyperparameters)['learning_rate'], each)
    for each in found.itertuples()
  }


def test_value_near_the_best_everywhere_is_kept():
  small = trials('small', 'adam', {0.1: 0.850, 0.2: 0.853, 0.4: 0.854})
  large = trials('large', 'adam', {0.1: 0.890, 0.2: 0.889, 0.4: 0.880})
  # 0.4 is best on little data, 0.1 on much; 0.2 misses neither by more.
  rate, found = keep(small, large)['adam']
  assert rate == 0.2
  assert found.stable
  assert found.regret == pytest.approx(0.001)
  assert found.accuracy == pytest.approx(0.871)


def test_only_trials_of_all_conditions_can_be_kept():
  small = trials('small', 'adam', {0.1: 0.85, 0.15: 0.86})
  large = trials('large', 'adam', {0.1: 0.89, 0.25: 0.9})
  alone = trials('small', 'sgd', {0.1: 0.85})
  found = keep(small, large, alone)
  rate, value = found.pop('adam')
  assert rate == 0.1
  assert value.regret == pytest.approx(0.01)
  assert not value.stable
  assert not found


def test_other_seeds_do_not_count():
  first = trials('here', 'adam', {0.1: 0.85, 0.2: 0.84})
  second = trials('here', 'adam', {0.2: 0.99}, seed=FIRST + 1)
  rate, _ = keep(first, second)['adam']
  assert rate == 0.1


def test_trial_that_diverges_somewhere_is_never_kept():
  found = keep(
    trials('small', 'adam', {0.1: 0.80, 0.2: 0.90}),
    trials('large', 'adam', {0.1: 0.80, 0.2: None}),
    trials('small', 'sgd', {0.1: None}),
    trials('large', 'sgd', {0.1: 0.9}),
  )
  rate, _ = found.pop('adam')
  assert rate == 0.1
  assert not found


def test_named_are_the_rate_and_what_is_not_the_default():
  text = json.dumps({'learning_rate': 0.1, 'weight_decay': 0.5, 'beta': 0.9})
  value = stable.Value('unknown', text, 0.5, 0.0, True)
  assert stable.named(value) == json.loads(text)
  text = json.dumps({'learning_rate': 0.1, 'weight_decay': 0.0})
  value = stable.Value('sgd', text, 0.5, 0.0, True)
  assert stable.named(value) == {'learning_rate': 0.1}
