"""Values that are good under every condition under which an arm was tuned."""

import json

import pytest

from experiments.studies import stable


def _rows(condition, arm, accuracies, seed=1_000_000):
  """Trials of some rates; None is a trial that diverged."""
  return [
    {
      'condition': condition,
      'arm': arm,
      'hyperparameters': json.dumps({'learning_rate': rate}),
      'seed': seed,
      'validation_accuracy': '' if accuracy is None else accuracy,
      'status': 'diverged' if accuracy is None else 'finished',
    }
    for rate, accuracy in accuracies.items()
  ]


def test_what_is_near_the_best_everywhere_is_kept():
  rows = _rows('small', 'adam', {0.1: 0.850, 0.2: 0.853, 0.4: 0.854})
  rows += _rows('large', 'adam', {0.1: 0.890, 0.2: 0.889, 0.4: 0.880})
  found = stable.values(rows)['adam']
  # 0.4 is best on little data, 0.1 on much; 0.2 misses neither by more.
  assert json.loads(found.hyperparameters) == {'learning_rate': 0.2}
  assert found.stable
  assert found.regret == pytest.approx(0.001)
  assert found.accuracy == pytest.approx(0.871)
  assert not stable.values(rows, tolerance=0.0005)['adam'].stable


def test_only_what_was_tried_everywhere_can_be_kept():
  rows = _rows('small', 'adam', {0.1: 0.85, 0.15: 0.86})
  rows += _rows('large', 'adam', {0.1: 0.89, 0.25: 0.9})
  found = stable.values(rows)['adam']
  assert json.loads(found.hyperparameters) == {'learning_rate': 0.1}
  assert found.regret == pytest.approx(0.01)
  assert not found.stable


def test_other_seeds_do_not_count():
  rows = _rows('here', 'adam', {0.1: 0.85, 0.2: 0.84})
  rows += _rows('here', 'adam', {0.2: 0.99}, seed=1_000_001)
  found = stable.values(rows)['adam']
  assert json.loads(found.hyperparameters) == {'learning_rate': 0.1}


def test_what_diverges_somewhere_is_never_kept():
  rows = _rows('small', 'adam', {0.1: 0.80, 0.2: 0.90})
  rows += _rows('large', 'adam', {0.1: 0.80, 0.2: None})
  rows += _rows('small', 'sgd', {0.1: None}) + _rows('large', 'sgd', {0.1: 0.9})
  found = stable.values(rows)
  assert json.loads(found['adam'].hyperparameters) == {'learning_rate': 0.1}
  assert 'sgd' not in found
