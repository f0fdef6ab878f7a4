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
    times: [arms, conditions], > 0; ∞ is a miss. A condition in which any arm
      has NaN is left out, for otherwise arms would be compared over different
      conditions.

  Returns:
    [arms, conditions that are left], ≥ 1; ∞ is a miss, also where every arm
    missed.
  """
  x = np.asarray(times, float)
  x = x[:, ~np.any(np.isnan(x), axis=0)]
  best = np.min(x, axis=0, initial=np.inf)
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
    [arms, points], from 0 to 1; NaN if no condition is left.
  """
  r = ratios(times)
  points = np.asarray(factors, float)
  if not r.shape[1]:
    return np.full((len(r), len(points)), np.nan)
  return np.mean(r[:, :, None] <= points, axis=1)


def score(times: ArrayLike, largest: float = 4.0) -> np.ndarray:
  """The area under each profile, as a share of what there could be.

  (1 / (τ_max − 1)) · ∫ ρ_a(τ) dτ from 1 to τ_max, AlgoPerf's benchmark score.
  A profile is a sum of steps, so the area is exact:
  mean over c of max(0, τ_max − r[a, c]) / (τ_max − 1).

  Args:
    times: as for `ratios`.
    largest: τ_max, > 1; AlgoPerf takes 4.

  Returns:
    [arms], from 0 to 1; NaN if no condition is left.
  """
  r = ratios(times)
  if not r.shape[1]:
    return np.full(len(r), np.nan)
  return np.mean(np.maximum(0, largest - r), axis=1) / (largest - 1)
