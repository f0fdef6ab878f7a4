"""Stable values: numbers that are good wherever an arm was tuned.

What is best under one condition may be luck, or good there alone. A setting is
stable if under every tuning condition it is within a tolerance of the best that
the arm reached there. Those that are tried under all conditions are asked: the
grid of learning rates and, where the best rate of the grid is the same under
all, what was tried around it.
"""

from collections.abc import Iterable, Mapping
import json
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import optimizers
from experiments.studies import declarations
from experiments.studies import frames
from experiments.studies import results

TOLERANCE = 0.002  # 0.2 points of accuracy.
Accuracies = dict[str, float]  # By hyperparameters, as JSON.


class Value(NamedTuple):
  """A setting of an arm that was tried under every tuning condition.

  Attributes:
    arm: the arm.
    hyperparameters: its numbers, as JSON.
    accuracy: the mean over the conditions of its validation accuracy.
    regret: the largest shortfall from the arm's best, over the conditions.
    stable: whether that is within the tolerance.
  """

  arm: str
  hyperparameters: str
  accuracy: float
  regret: float
  stable: bool


def keep(trials: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
  """For every arm, the value to keep.

  Args:
    trials: `trials.csv`. The trials of the first tuning seed count, which all
      of them have; one that diverged is worse than any other.
    tolerance: how far from the best a stable value may be, a fraction.

  Returns:
    A row for each arm with the columns arm, hyperparameters (JSON with sorted
    keys), accuracy (the mean over the tuning conditions of its validation
    accuracy), regret (the largest shortfall from the arm's best, over the
    conditions) and stable (whether that is within the tolerance). The value
    has the smallest regret; of equals the highest accuracy. It need not be
    stable. An arm that has no value that finished under every condition is
    left out.
  """
  first = trials[trials['seed'] == declarations.FIRST_TUNING_SEED]
  diverged = first['status'] == frames.DIVERGED
  first = first.assign(
    accuracy=first['validation_accuracy'].mask(diverged, -math.inf),
    hyperparameters=[
      json.dumps(json.loads(x), sort_keys=True)
      for x in first['hyperparameters']
    ],
  ).drop_duplicates(['condition', 'arm', 'hyperparameters'], keep='last')
  conditions = first['condition'].unique()
  found = []
  for arm, own in first.groupby('arm', sort=False):
    tried = own.pivot(
      index='hyperparameters', columns='condition', values='accuracy'
    ).reindex(columns=conditions)
    common = tried[np.isfinite(tried).all(axis=1)]
    accuracy = common.to_numpy().mean(axis=1)
    regret = (tried.max() - common).max(axis=1).to_numpy()
    for i in np.lexsort((-accuracy, regret))[:1]:
      # Accuracies are fractions of thousands of images; differences round.
      near = bool(regret[i] <= tolerance + 1e-9)
      found.append((arm, common.index[i], accuracy[i], regret[i], near))
  return pd.DataFrame(found, columns=[*Value._fields])


def values(
  rows: Iterable[Mapping[str, Any]], tolerance: float = TOLERANCE
) -> dict[str, Value]:
  """For every arm, the value to keep.

  Args:
    rows: those of `trials.csv`, as text or read. The trials of the first
      tuning seed count, which all of them have.
    tolerance: how far from the best a stable value may be, a fraction.

  Returns:
    See `kept`.
  """
  return kept(_accuracies(rows), tolerance)


def kept(
  found: Mapping[tuple[str, str], Accuracies], tolerance: float = TOLERANCE
) -> dict[str, Value]:
  """For every arm, the value to keep.

  Args:
    found: by condition and arm, the accuracy of each setting that was tried; -∞
      if it diverged.
    tolerance: how far from the best a stable value may be, a fraction.

  Returns:
    By arm, the setting with the smallest regret; of equals the one with the
    highest accuracy. It need not be stable. An arm that has no setting that
    finished under every condition is left out.
  """
  conditions = sorted({condition for condition, _ in found})
  values_: dict[str, Value] = {}
  for arm in dict.fromkeys(arm for _, arm in found):
    tried = [found.get((condition, arm), {}) for condition in conditions]
    common = set.intersection(*(set(each) for each in tried))
    best = [max(each.values(), default=-math.inf) for each in tried]
    candidates = [
      _value(arm, text, [each[text] for each in tried], best, tolerance)
      for text in sorted(common)
    ]
    finished = [each for each in candidates if math.isfinite(each.accuracy)]
    if finished:
      values_[arm] = min(finished, key=lambda x: (x.regret, -x.accuracy))
  return values_


def named(value: Value) -> dict[str, float]:
  """The learning rate of a value, and its numbers that are not the defaults."""
  arm = optimizers.ARMS.get(value.arm)
  # Arms come and go; tables stay.
  defaults = arm.numbers({}) if arm else {}
  return {
    name: x
    for name, x in json.loads(value.hyperparameters).items()
    if name == optimizers.LEARNING_RATE or x != defaults.get(name)
  }


def _value(
  arm: str,
  text: str,
  accuracies: list[float],
  best: list[float],
  tolerance: float,
) -> Value:
  regret = max(x - y for x, y in zip(best, accuracies, strict=True))
  mean = sum(accuracies) / len(accuracies)
  # Accuracies are fractions of thousands of images; their differences round.
  return Value(arm, text, mean, regret, regret <= tolerance + 1e-9)


def _accuracies(
  rows: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str], Accuracies]:
  """By condition and arm, the accuracy of each setting; -∞ if it diverged."""
  found: dict[tuple[str, str], Accuracies] = {}
  for row in rows:
    if int(row['seed']) != declarations.FIRST_TUNING_SEED:
      continue
    diverged = row['status'] == results.DIVERGED
    accuracy = -math.inf if diverged else float(row['validation_accuracy'])
    given = row['hyperparameters']
    given = json.loads(given) if isinstance(given, str) else dict(given)
    text = json.dumps(given, sort_keys=True)
    found.setdefault((row['condition'], row['arm']), {})[text] = accuracy
  return found
