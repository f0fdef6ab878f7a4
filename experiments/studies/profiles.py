"""Performance profiles: how often an arm is how near to the fastest.

Dolan and Moré, "Benchmarking optimization software with performance profiles",
doi:10.1007/s101070100263; in AlgoPerf, Dahl et al., arXiv:2306.07179.
"""

import numpy as np
from numpy.typing import ArrayLike


def ratios(times: ArrayLike) -> np.ndarray:
  """By what factor each arm is slower than the fastest of its condition.

  r[a, c] = times[a, c] / min over arms of times[·, c].

  Args:
    times: [arms, conditions], > 0; ∞ is a miss.

  Returns:
    The same shape, ≥ 1; ∞ is a miss, also where every arm missed.
  """
  x = np.asarray(times, float)
  best = np.min(x, axis=0)
  missed = np.full_like(x, np.inf)
  return np.divide(x, best, out=missed, where=np.isfinite(x))


def profile(times: ArrayLike, factors: ArrayLike) -> np.ndarray:
  """The share of the conditions in which an arm is within a factor of the best.

  ρ_a(τ) = |{c: r[a, c] ≤ τ}| / |{c}|. At τ = 1 it is how often the arm is the
  fastest, and for large τ how often it reaches the target.

  Args:
    times: as for `ratios`.
    factors: [points], the τ, each at least 1.

  Returns:
    [arms, points], from 0 to 1.
  """
  return np.mean(ratios(times)[:, :, None] <= np.asarray(factors), axis=1)


def score(times: ArrayLike, largest: float = 4.0) -> np.ndarray:
  """The area under each profile, as a share of what there could be.

  (1 / (τ_max − 1)) · ∫ ρ_a(τ) dτ from 1 to τ_max, AlgoPerf's benchmark score.
  A profile is a sum of steps, so the area is exact:
  mean over c of max(0, τ_max − r[a, c]) / (τ_max − 1).

  Args:
    times: as for `ratios`.
    largest: τ_max, > 1; AlgoPerf takes 4.

  Returns:
    [arms], from 0 to 1.
  """
  left = np.maximum(0, largest - ratios(times))
  return np.mean(left, axis=1) / (largest - 1)
