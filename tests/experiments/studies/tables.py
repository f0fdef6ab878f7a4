"""Rows of `results.csv`, as a study would write them."""

import csv
import io


def row(arm, seed, accuracy, status='finished', **changes):
  """One row; `changes` are of its other columns."""
  return {
    'condition': 'noise_0.2',
    'ruleset': 'default',
    'arm': arm,
    'seed': seed,
    'hyperparameters': '{}',
    'validation_accuracy': '',
    'test_accuracy': accuracy,
    'steps_to_target': 100,
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


def by_csv(rows):
  """The rows as they come back from a file."""
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0].keys())
  writer.writeheader()
  writer.writerows(rows)
  text.seek(0)
  return list(csv.DictReader(text))
