"""Stable values: hyperparameters that are good wherever an arm was tuned.

The best trial under one condition may be luck, or good there alone. A value is
stable if under every tuning condition it is within a tolerance of the best that
the arm reached there. Only trials that were made under all conditions count:
the grid of learning rates and, where the best rate of the grid is the same
under all, the trials around it.
"""

import json
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import optimizers
from experiments.studies import declarations
from experiments.studies import frames

TOLERANCE = 0.002  # 0.2 points of accuracy.


class Value(NamedTuple):
  """The hyperparameters of an arm to keep.

  Attributes:
    arm: the arm.
    hyperparameters: as JSON with sorted keys.
    accuracy: the mean over the conditions of its validation accuracy.
    regret: the largest shortfall from the arm's best, over the conditions.
    stable: whether that is at most `TOLERANCE`.
  """

  arm: str
  hyperparameters: str
  accuracy: float
  regret: float
  stable: bool


def keep(trials: pd.DataFrame) -> pd.DataFrame:
  """The value to keep of every arm.

  The value has the smallest regret; of equals the highest accuracy. It need
  not be stable.

  Args:
    trials: `trials.csv`. The trials of the first tuning seed count, which all
      of them have; one that diverged is worse than any other.

  Returns:
    A row for each arm, with the fields of `Value` as columns. An arm of which
    no trial finished under every condition is left out.
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
      near = bool(regret[i] <= TOLERANCE + 1e-9)
      found.append(Value(arm, common.index[i], accuracy[i], regret[i], near))
  return pd.DataFrame(found, columns=[*Value._fields])


def named(value: Value) -> dict[str, float]:
  """Its learning rate, and what differs from the defaults of the arm."""
  arm = optimizers.ARMS.get(value.arm)
  # Arms come and go; tables stay.
  defaults = arm.values({}) if arm else {}
  return {
    name: x
    for name, x in json.loads(value.hyperparameters).items()
    if name == optimizers.LEARNING_RATE or x != defaults.get(name)
  }
