"""Trials: a seed and any hyperparameters, and the data that each of them sees.

Everything that a trial draws, that is its initialisation, subset, label noise,
data order, dropout and augmentation, is derived from its seed alone, so that
the same seed gives every optimizer the same of each: comparisons are paired.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.data import subsets
from experiments.training import keys


class Trial(NamedTuple):
  """One training run.

  Attributes:
    seed: uint32 [].
    hyperparameters: float32 [] by name, what the optimizer is built from.
    indices: int32 [n], which training images the trial sees.
    labels: int32 [n], what it takes them for.
  """

  seed: jax.Array
  hyperparameters: dict[str, jax.Array]
  indices: jax.Array
  labels: jax.Array

  def at(self, values: Mapping[str, float]) -> 'Trial':
    """The same trials, all with these hyperparameters."""
    return self.combined([values])

  def combined(self, rows: Sequence[Mapping[str, float]]) -> 'Trial':
    """Every trial with each of some combinations of the same hyperparameters.

    Those with the first combination come before all others.
    """
    times, count = len(rows), len(self.seed)
    repeated = jax.tree.map(
      lambda x: jnp.tile(x, (times,) + (1,) * (x.ndim - 1)),
      self._replace(hyperparameters={}),
    )
    columns = {
      name: jnp.repeat(
        jnp.asarray([row[name] for row in rows], jnp.float32), count
      )
      for name in rows[0]
    }
    return repeated._replace(hyperparameters=columns)


# A trial whose arrays have a leading axis, of r trials.
Trials: TypeAlias = Trial


def make_trials(
  dataset: Dataset,
  seeds: Sequence[int],
  *,
  fraction: float = 1.0,
  label_noise: float = 0.0,
  images: int | None = None,
) -> Trials:
  """One trial for each seed, with its own subset and label noise.

  A fraction of each class is kept, in (0, 1], and of those so many images,
  whatever their classes; the label noise is a share in [0, 1).
  """
  labels, indices = [], []
  for seed in seeds:
    noisy = subsets.symmetric_label_noise(
      dataset.train_labels,
      label_noise,
      dataset.spec.num_classes,
      keys.key(seed, keys.NOISE),
    )
    kept = subsets.stratified_subset(
      dataset.train_labels, fraction, keys.key(seed, keys.SUBSET)
    )
    if images is not None:
      kept = subsets.subset(kept, images, keys.key(seed, keys.SUBSET))
    indices.append(kept)
    labels.append(noisy[kept])
  return Trial(
    seed=jnp.asarray(seeds, jnp.uint32),
    hyperparameters={},
    indices=jnp.asarray(np.stack(indices)),
    labels=jnp.asarray(np.stack(labels)),
  )
