"""Rows of `results.csv`, as a study would make them."""

from experiments.studies import frames
from experiments.studies import scores

CHANCE = 0.1


def row(arm, seed, accuracy, status='finished', **changes):
  """One row; `changes` are of its other columns."""
  return {
    'condition': 'here',
    'ruleset': 'default',
    'arm': arm,
    'seed': seed,
    'hyperparameters': '{}',
    'validation_accuracy': float('nan'),
    'test_accuracy': accuracy,
    'steps_to_target': 100.0,
    'seconds_to_target': 0.5,
    'status': status,
    **changes,
  }


def rows(**arms):
  """Rows of arms, each with its accuracies from seed 0 on."""
  return [
    row(arm, seed, accuracy)
    for arm, accuracies in arms.items()
    for seed, accuracy in enumerate(accuracies)
  ]


def frame(rows, column='test_accuracy'):
  """The rows as a table, with the accuracy that counts."""
  found = frames.make('results', [rows])
  chances = dict.fromkeys(found['condition'], CHANCE)
  return scores.with_accuracy(found, chances, column)
