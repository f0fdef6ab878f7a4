"""Statistics of arms that were trained on the same seeds.

The first axis is that of the seeds, so that whole curves or many simulated
studies are one call.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

# z(0.975) + z(0.80): 5 % of false alarms on two sides, 80 % power.
_ALARM_AND_POWER = 2.8
# An accuracy may be a float32 and is at most 1: what is below that is rounding.
_ROUNDING = float(np.finfo(np.float32).eps)


class Comparison(NamedTuple):
  """One arm against a reference; differences are arm − reference.

  Attributes:
    n: how many pairs there are.
    mean_difference: NaN without a pair, as are all that follow.
    ci_low: the lower end of the 95 % interval; NaN with a single pair, as are
      all that follow.
    ci_high: its upper end.
    p: two-sided.
    effect_size: Cohen's d of the differences.
    seeds_needed: to see a difference like this one.
  """

  n: int
  mean_difference: float
  ci_low: float
  ci_high: float
  p: float
  effect_size: float
  seeds_needed: float


def compare(differences: ArrayLike) -> Comparison:
  """All that the table says of one arm against a reference.

  Args:
    differences: [n], those of the pairs.

  Returns:
    The comparison. A single pair has a difference, but no interval: what it
    lacks is NaN.
  """
  x = np.asarray(differences, float)
  mean = mean_difference(x)
  low, high = t_interval(x)
  return Comparison(
    n=len(x),
    mean_difference=float(mean),
    ci_low=float(low),
    ci_high=float(high),
    p=float(p_value(x)),
    effect_size=float(effect_size(x)),
    seeds_needed=seeds_needed(float(mean), float(sd(x))),
  )


def mean_difference(differences: ArrayLike) -> np.ndarray:
  """The mean over the pairs.

  Args:
    differences: [n, …], of accuracies as fractions.

  Returns:
    […]: NaN if n = 0, and exactly 0 where the mean is 0 up to the rounding of
    float32.
  """
  x = np.asarray(differences, float)
  if not len(x):
    return np.full(x.shape[1:], math.nan)
  mean = np.mean(x, axis=0)
  return np.where(np.abs(mean) <= _ROUNDING, 0.0, mean)


def sd(differences: ArrayLike) -> np.ndarray:
  """The standard deviation s of the sample: s² = Σ (d − mean)² / (n − 1).

  Args:
    differences: [n, …], of accuracies as fractions.

  Returns:
    […]: NaN if n < 2, and exactly 0 where the differences are equal up to the
    rounding of float32.
  """
  x = np.asarray(differences, float)
  if len(x) < 2:
    return np.full(x.shape[1:], math.nan)
  return np.where(
    np.ptp(x, axis=0) <= _ROUNDING, 0.0, np.std(x, axis=0, ddof=1)
  )


def t_interval(
  differences: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
  """The paired t interval: mean ± t(n − 1, (1 + level) / 2) · s / √n.

  Student, "The probable error of a mean", Biometrika 6 (1908).

  Args:
    differences: [n, …].
    level: how often the interval shall hold the true mean, in (0, 1).

  Returns:
    Its lower and upper ends, each […]; NaN if n < 2. Where all differences are
    equal, both ends are the mean.
  """
  x = np.asarray(differences, float)
  return t_interval_of(mean_difference(x), sd(x), len(x), level)


def t_interval_of(
  mean: ArrayLike, deviation: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
  """The same interval from the mean, standard deviation and size of samples.

  Args:
    mean: […].
    deviation: […].
    n: […]; below 2 the interval is NaN.
    level: as in `t_interval`.
  """
  mean, s, n = (np.asarray(x, float) for x in (mean, deviation, n))
  factor = stats.t.ppf((1 + level) / 2, np.where(n < 2, np.nan, n - 1))
  reach = factor * s / np.sqrt(np.maximum(n, 1))
  return mean - reach, mean + reach


def p_value(differences: ArrayLike) -> np.ndarray:
  """The p-value of the two-sided paired t test of "the mean is 0".

  p = 2 · P(T > |t|) with t = mean / (s / √n), where T has Student's t
  distribution with n − 1 degrees of freedom.

  Args:
    differences: [n, …].

  Returns:
    […]; NaN if n < 2. Where all differences are equal, it is the limit: 1 if
    they are 0, else 0, however few they are.
  """
  x = np.asarray(differences, float)
  t = _ratio(mean_difference(x), sd(x) / math.sqrt(max(len(x), 1)))
  return 2 * stats.t.sf(np.abs(t), len(x) - 1)


def effect_size(differences: ArrayLike) -> np.ndarray:
  """Cohen's d of the differences: d = mean / s, also called d_z.

  Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988),
  chapter 2; Lakens, doi:10.3389/fpsyg.2013.00863.

  Args:
    differences: [n, …].

  Returns:
    […]; NaN if n < 2. Where all differences are equal, it is the limit: 0 if
    they are 0, else ±∞.
  """
  x = np.asarray(differences, float)
  return _ratio(mean_difference(x), sd(x))


def seeds_needed(difference: float, deviation: float) -> float:
  """The number of pairs it takes to see a difference: ⌈(2.8 · σ / Δ)²⌉.

  2.8 is z(0.975) + z(0.80): with so many pairs the two-sided test at 5 % finds
  the difference in 80 of 100 studies. Cohen (1988), chapter 2, with the normal
  distribution in place of t: below about ten, it is two or three too small.

  Args:
    difference: Δ.
    deviation: σ, of the paired differences; not negative.

  Returns:
    A whole number, or ∞ if Δ = 0, whatever σ is; NaN if Δ or σ is.
  """
  if math.isnan(difference) or math.isnan(deviation):
    return math.nan
  if difference == 0:
    return math.inf
  ratio = _ALARM_AND_POWER * deviation / abs(difference)
  needed = ratio * ratio
  return math.ceil(needed) if math.isfinite(needed) else math.inf


def holm(p: ArrayLike) -> np.ndarray:
  """Adjusts the p-values of a family, so that its error rate is that of one.

  With the m values in ascending order, the i-th becomes
  max over j ≤ i of min(1, (m − j + 1) · p_j). To reject what is at most 0.05
  then rejects any true hypothesis in at most 5 of 100 studies, whatever the
  dependence between the tests. Holm, "A simple sequentially rejective multiple
  test procedure", Scandinavian Journal of Statistics 6 (1979).

  Args:
    p: [m], one family.

  Returns:
    [m], in the order given. NaN stays NaN: where nothing was tested, the family
    is the smaller.
  """
  p = np.asarray(p, float)
  order = np.argsort(p)  # NaN is last.
  steps = (np.sum(~np.isnan(p)) - np.arange(len(p))) * p[order]
  adjusted = np.empty_like(p)
  adjusted[order] = np.maximum.accumulate(np.minimum(1, steps))
  return adjusted


def _ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """x / y for y ≥ 0; where y is 0, its limit: 0 if x is 0, else ±∞."""
  with np.errstate(divide='ignore', invalid='ignore'):
    return np.where((x == 0) & (y == 0), 0.0, np.divide(x, y))
