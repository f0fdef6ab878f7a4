"""What is measured of a stream: each measure is one function, with its source.

Those of arrays of JAX are taken inside of the program that trains, the others
of what it leaves: accuracies, [..., T, E, T], where T is the number of tasks.
While task k is learned, they are evaluated on each task j, E times, the last
time at its end; R_{k,j} is that last evaluation, the matrix R [..., T, T].
What is made of them is [..., T].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.training.records import History

ONLINE_ACCURACY, ONLINE_LOSS = 'online_accuracy', 'online_loss'


def plasticity(before: jax.Array, after: jax.Array) -> jax.Array:
  """How much of the loss on a batch the update that learned it took away.

  p = clip(1 − L_after / max(L_before, 1e-8), 0, 1), of Elsayed & Mahmood 2024,
  arXiv:2404.00781: 1 where nothing is left of the loss, 0 where it did not
  fall.

  Args:
    before: the loss on the batch before its update.
    after: the loss on the same batch after it.
  """
  return jnp.clip(1 - after / jnp.maximum(before, 1e-8), 0, 1)


def dead_units(features: Sequence[jax.Array]) -> jax.Array:
  """The share of the hidden units that are 0 for every example.

  The dormant units of Sokar et al. 2023, arXiv:2302.12902, with τ = 0. Units
  without a flat part, as leaky ReLUs, are never dead.

  Args:
    features: of each hidden layer its activations, [n, units].

  Returns:
    float32 [], from 0 to 1.
  """
  dead = [jnp.all(x == 0, axis=0) for x in features]
  return jnp.mean(jnp.concatenate(dead), dtype=jnp.float32)


def effective_rank(features: jax.Array) -> jax.Array:
  """How many directions features really use.

  exp(H(p)), the entropy H(p) = −Σ pᵢ log pᵢ of the normalised singular values
  pᵢ = σᵢ / Σσ; Roy & Vetterli, The effective rank, EUSIPCO 2007.

  Args:
    features: [n, units], not centred.

  Returns:
    float32 [], from 1 to the rank; 0 if all features are 0, NaN if one is not
    finite.
  """
  finite = jnp.all(jnp.isfinite(features))
  # The eigenvalues of the Gram matrix would be cheaper, but lose singular
  # values below a thousandth of the largest.
  values = jnp.linalg.svd(
    jnp.where(finite, features, 0.0), full_matrices=False, compute_uv=False
  )
  total = jnp.sum(values)
  shares = values / jnp.where(total > 0, total, 1.0)
  rank = jnp.exp(jnp.sum(jax.scipy.special.entr(shares)))
  rank = jnp.where(total > 0, rank, 0.0)
  return jnp.where(finite, rank, jnp.nan)


def weight_norm(params: Any) -> jax.Array:
  """‖w‖ = √Σw², over all parameters, biases included; float32 []."""
  return optax.tree.norm(params)


def average_accuracy(matrix: np.ndarray) -> np.ndarray:
  """The mean accuracy on the tasks so far, after each of them.

  ACC_k = 1/k · Σ_{j ≤ k} R_{k,j}; Lopez-Paz & Ranzato 2017, arXiv:1706.08840.
  """
  count = matrix.shape[-1]
  return np.tril(matrix).sum(-1) / (1 + np.arange(count))


def backward_transfer(matrix: np.ndarray) -> np.ndarray:
  """What learning went on to do to the tasks before; below 0 if it harmed.

  BWT_k = 1/(k − 1) · Σ_{j < k} (R_{k,j} − R_{j,j}), NaN after the first task;
  Lopez-Paz & Ranzato 2017, arXiv:1706.08840.
  """
  count = matrix.shape[-1]
  learned = np.diagonal(matrix, axis1=-2, axis2=-1)[..., None, :]
  lost = np.tril(matrix - learned, -1).sum(-1)
  return _mean_before(lost, count)


def forgetting(matrix: np.ndarray) -> np.ndarray:
  """How far the tasks before are below the best that they have been.

  F_k = 1/(k − 1) · Σ_{j < k} (max_{l < k} R_{l,j} − R_{k,j}), NaN after the
  first task; Chaudhry et al. 2018, arXiv:1801.10112.
  """
  count = matrix.shape[-1]
  best = np.maximum.accumulate(matrix, axis=-2)
  best = np.concatenate([matrix[..., :1, :], best[..., :-1, :]], axis=-2)
  return _mean_before(np.tril(best - matrix, -1).sum(-1), count)


def min_accuracy(evaluations: np.ndarray) -> np.ndarray:
  """The lowest accuracies that the tasks before had since they were learned.

  min-ACC_k = 1/(k − 1) · Σ_{i < k} min A_i, over all evaluations after the end
  of task i and up to the end of task k, NaN after the first task; De Lange et
  al. 2023, arXiv:2205.13452.
  """
  count = evaluations.shape[-1]
  lowest = evaluations.min(-2)
  found = np.zeros(lowest.shape[:-1])
  for k in range(count):
    for i in range(k):
      found[..., k] += lowest[..., i + 1 : k + 1, i].min(-1)
  return _mean_before(found, count)


def worst_case_accuracy(evaluations: np.ndarray) -> np.ndarray:
  """The accuracy on the task just learned, and the lowest of all before.

  WC-ACC_k = 1/k · R_{k,k} + (1 − 1/k) · min-ACC_k; De Lange et al. 2023,
  arXiv:2205.13452.
  """
  learned = np.diagonal(evaluations[..., -1, :], axis1=-2, axis2=-1)
  share = 1 / (1 + np.arange(learned.shape[-1]))
  return share * learned + (1 - share) * np.nan_to_num(
    min_accuracy(evaluations)
  )


def gap_to_fresh(online: np.ndarray, fresh: np.ndarray) -> np.ndarray:
  """How much better a new network learns a task than one that has a past.

  The mean over every tenth task of the online accuracy of a network that begins
  with that task, minus that of the one under test; above 0 where plasticity was
  lost. The gap of warm starts of Ash & Adams 2020, arXiv:1910.08475, online.

  Args:
    online: [..., T], accuracies.
    fresh: [..., T], those of networks that are new with every task.

  Returns:
    [...]; NaN with fewer than ten tasks.
  """
  if online.shape[-1] < 10:
    return np.full(online.shape[:-1], np.nan)
  return (fresh - online)[..., 9::10].mean(-1)


def _mean_before(sums: np.ndarray, count: int) -> np.ndarray:
  """What was summed over the tasks before the k-th, divided by k − 1."""
  before = np.arange(count, dtype=float)
  before[0] = np.nan
  return sums / before


# Of a split, after each task; from its matrix of accuracies, or from all
# evaluations.
_OF_MATRIX = {
  'average_accuracy': average_accuracy,
  'backward_transfer': backward_transfer,
  'forgetting': forgetting,
}
_OF_EVALUATIONS = {
  'min_accuracy': min_accuracy,
  'worst_case_accuracy': worst_case_accuracy,
}
# These have no value after the first task.
OF_EARLIER = {'backward_transfer', 'forgetting', 'min_accuracy'}


def by_task(history: History) -> dict[str, np.ndarray]:
  """Every measure of every task so far, by name.

  Returns:
    [trials, tasks]; NaN where a measure has no value yet.
  """
  found = {name: history[name] for name in history.names}
  if history.evaluations.size:
    # Of tasks to come there are evaluations, too, but no matrix.
    done = history.evaluations[..., : history.epochs]
    for name, of_matrix in _OF_MATRIX.items():
      found[name] = of_matrix(done[:, :, -1])
    for name, of_evaluations in _OF_EVALUATIONS.items():
      found[name] = of_evaluations(done)
  return found


def summaries(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Every measure over all tasks, by name.

  Args:
    found: as `by_task` gives them.

  Returns:
    A number for each trial: online accuracy of all tasks, of the first and of
    the last tenth, at least one; what a split forgot, after the last task; all
    else as a mean over the tasks.
  """
  online = found[ONLINE_ACCURACY]
  tenth = max(1, online.shape[-1] // 10)
  summaries = {
    ONLINE_ACCURACY: online.mean(-1),
    f'{ONLINE_ACCURACY}_first_tenth': online[..., :tenth].mean(-1),
    f'{ONLINE_ACCURACY}_last_tenth': online[..., -tenth:].mean(-1),
  }
  for name, values in found.items():
    if name in _OF_MATRIX or name in _OF_EVALUATIONS:
      summaries[name] = values[:, -1]
    elif name not in summaries and not name.endswith('_seconds'):
      summaries[name] = values.mean(-1)
  return summaries
