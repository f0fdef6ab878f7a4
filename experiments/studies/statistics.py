"""Statistics of arms that were trained on the same seeds.

Differences are those of n pairs, [n, …], of accuracies as fractions: the first
axis is that of the seeds, so that whole curves or many simulated studies are
one call.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

# z(0.975) + z(0.80): 5 % of false alarms on two sides, 80 % power.
_ALARM_AND_POWER = 2.8
# Between both ends of an interval are 95 % of the distribution.
_UPPER_END = 0.975
# An accuracy may be a float32 and is at most 1: what is below that is rounding.
_ROUNDING = float(np.finfo(np.float32).eps)


class Comparison(NamedTuple):
  """Arms against a reference; differences are arm − reference.

  All are […], as `compare` has it. Of a single pair only the mean is known, of
  none nothing: NaN.

  Attributes:
    n: how many pairs there are, a number.
    mean_difference: see there.
    ci_low: the lower end of the 95 % t interval.
    ci_high: its upper end.
    p: of the two-sided paired t test of "the mean is 0".
    effect_size: Cohen's d of the differences.
    seeds_needed: to see a difference like this one; whole, or ∞.
  """

  n: int
  mean_difference: np.ndarray
  ci_low: np.ndarray
  ci_high: np.ndarray
  p: np.ndarray
  effect_size: np.ndarray
  seeds_needed: np.ndarray


def compare(differences: ArrayLike) -> Comparison:
  """All that the table says of one arm against a reference.

  With the mean Δ and the standard deviation s of the n differences:

  - p = 2 · P(T > |Δ| / (s / √n)), where T has Student's t distribution with
    n − 1 degrees of freedom;
  - d = Δ / s, also called d_z: Cohen, "Statistical Power Analysis for the
    Behavioral Sciences" (1988), chapter 2; Lakens,
    doi:10.3389/fpsyg.2013.00863;
  - ⌈(2.8 · s / Δ)²⌉ seeds are needed: 2.8 is z(0.975) + z(0.80), so that with
    so many pairs the test at 5 % finds the difference in 80 of 100 studies.
    Cohen (1988) with the normal distribution in place of t: below about ten, it
    is two or three too small.

  Where all differences are equal, these are their limits: p is 0, d is ±∞ and
  no seed is needed; if they are 0, it is 1, 0 and ∞.
  """
  x = np.asarray(differences, float)
  n, mean, s = len(x), mean_difference(x), sd(x)
  t = _ratio(mean, s / math.sqrt(max(n, 1)))
  needed = np.ceil(_ratio(_ALARM_AND_POWER * s, np.abs(mean)) ** 2)
  return Comparison(
    n,
    mean,
    *t_interval_of(mean, s, n),
    p=2 * stats.t.sf(np.abs(t), n - 1),
    effect_size=_ratio(mean, s),
    seeds_needed=np.where((mean == 0) & (s == 0), np.inf, needed),
  )


def mean_difference(differences: ArrayLike) -> np.ndarray:
  """The mean over the pairs.

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


def t_interval(differences: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
  """The paired 95 % t interval: mean ± t(n − 1, 0.975) · s / √n.

  Student, "The probable error of a mean", Biometrika 6 (1908).

  Returns:
    Its lower and upper ends, each […]; NaN if n < 2. Where all differences are
    equal, both ends are the mean.
  """
  x = np.asarray(differences, float)
  return t_interval_of(mean_difference(x), sd(x), len(x))


def t_interval_of(
  mean: ArrayLike, deviation: ArrayLike, n: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """The same interval from the mean, standard deviation and size of samples.

  All are […]; where n is below 2 the interval is NaN.
  """
  mean, s, n = (np.asarray(x, float) for x in (mean, deviation, n))
  factor = stats.t.ppf(_UPPER_END, np.where(n < 2, np.nan, n - 1))
  reach = factor * s / np.sqrt(np.maximum(n, 1))
  return mean - reach, mean + reach


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
