"""The equations of NeuroPlastic, restated in NumPy and float64.

Jiang et al., arXiv:2604.26297, one function an equation, on single tensors;
`Reference` strings them together over a flat list of tensors. Plain on purpose:
nothing is shared with the library, nothing is rearranged, nothing is fast.
Tensors may be complex: their moduli make the signals.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np

# 1. Signals.


def activity(a, g, rho):
  return rho * a + (1 - rho) * np.abs(g)


def memory_mu(m, g, b1):
  return b1 * m + (1 - b1) * g


def memory_nu(v, g, b2):
  return b2 * v + (1 - b2) * np.abs(g) ** 2


def memory(m, v, eps):
  return np.abs(m) / (np.sqrt(v) + eps)


def normalize(x, eps):
  return x / (np.mean(x) + eps)


# 2. The plasticity coefficient.


def clip(signal, low, high, parameterwise):
  if not parameterwise:
    signal = np.full_like(signal, np.mean(signal))
  return np.minimum(np.maximum(signal, low), high)


def full_signal(a, g, m, v, weights, eps):
  w_a, w_g, w_m = weights
  return (
    w_a * normalize(a, eps)
    + w_g * normalize(np.abs(g), eps)
    + w_m * normalize(memory(m, v, eps), eps)
  )


def extrapolate(alpha_gradient, alpha_full, kappa):
  return alpha_gradient + kappa * (alpha_full - alpha_gradient)


# 3. Modulation, and the bases that the published hybrids have.


def direct(alpha, b):
  return alpha * b


def limit(delta, b, max_ratio):
  n, bound = norm(delta), max_ratio * norm(b)
  return delta * bound / (n + 1e-12) if n > bound else delta


def gain(alpha, b, strength, max_ratio):
  return b + limit(strength * (alpha - 1) * b, b, max_ratio)


def momentum(alpha, b, m_hat, strength, max_ratio):
  return b + limit(strength * (alpha - 1) * m_hat, b, max_ratio)


def trust_ratio(alpha, b, theta, strength, max_ratio):
  trust = np.clip(norm(theta) / (norm(b) + 1e-12), 0.5, 1.5) - 1
  return b + limit(strength * (alpha - 1) * trust * b, b, max_ratio)


def orthogonal(alpha, alpha_gradient, b, strength, max_ratio, match, eps):
  square = norm(b) ** 2
  if square <= eps:
    return b
  p = (alpha - alpha_gradient) * b
  q = p - np.sum(np.real(np.conj(b) * p)) / (square + eps) * b
  if match and norm(q) > eps:
    q = q * norm(b) / (norm(q) + eps)
  delta = strength * q
  if norm(delta) > max_ratio * norm(b):
    delta = delta * max_ratio * norm(b) / (norm(delta) + eps)
  return b + delta


def sgd_momentum(b, g, decay=0.9):
  return decay * b + g


def adam(m, v, g, t, b1=0.9, b2=0.999, eps=1e-8):
  """The update of Adam and its new moments, at update t = 1, 2, …."""
  m = b1 * m + (1 - b1) * g
  v = b2 * v + (1 - b2) * np.abs(g) ** 2
  return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps), m, v


class Base:
  """The updates of a base, by its name, and what each leaves of momentum."""

  def __init__(self, kind: str | None, params: Sequence[np.ndarray]):
    self.kind = kind
    self.count = 0
    self.m = [np.zeros_like(p) for p in params]
    self.v = [np.zeros(np.shape(p)) for p in params]

  def update(self, gradients: Sequence[np.ndarray]) -> Any:
    self.count += 1
    if self.kind is None:
      return None
    if self.kind == 'trace':
      pairs = zip(self.m, gradients, strict=True)
      self.m = [sgd_momentum(m, g) for m, g in pairs]
      return self.m
    triples = zip(self.m, self.v, gradients, strict=True)
    updates, self.m, self.v = zip(
      *(adam(m, v, g, self.count) for m, v, g in triples), strict=True
    )
    return updates

  def m_hat(self, i: int) -> np.ndarray:
    """The momentum of tensor i, without the bias of Adam's."""
    debias = 1 - 0.9**self.count if self.kind == 'adam' else 1
    return self.m[i] / debias


# 4. Weight decay.


def couple(u, theta, weight_decay):
  return u + weight_decay * theta


# 5. Homeostasis.


def norm(u):
  return np.sqrt(np.sum(np.abs(u) ** 2))


def clip_norm(u, max_norm, eps):
  n = norm(u)
  return u * max_norm / (n + eps) if n > max_norm else u


def pull_rms(u, target, rate, eps):
  r = np.sqrt(np.mean(np.abs(u) ** 2) + eps)
  return u * np.clip(1 + rate * (target - r), 0.5, 1.5)


# 6. The learning-rate controller.


def log_ratio(alpha, alpha_gradient, eps):
  ratio = np.maximum(alpha, eps) / np.maximum(alpha_gradient, eps)
  logs = np.log(ratio)
  return np.mean(np.where(np.isfinite(logs), logs, 0.0))


def multiplier(signals, gain_, low, high):
  return np.clip(1 + gain_ * np.mean(signals), low, high)


# All together.


@dataclasses.dataclass(frozen=True)
class Homeostasis:
  max_update_norm: float | None = 1.0
  target_rms: float | None = 0.02
  adaptation_rate: float = 0.01
  target_rms_scale: Sequence[float] | None = None  # Of each tensor.


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
  """The arguments of `neuroplastic`, with masks and scales as flat lists."""

  gradient_only: bool = False
  activity_weight: float = 0.4
  gradient_weight: float = 0.4
  memory_weight: float = 0.2
  activity_decay: float = 0.95
  memory_b1: float = 0.9
  memory_b2: float = 0.99
  min_alpha: float = 0.2
  max_alpha: float = 2.0
  plasticity_scale: float | Callable[[int], float] = 1.0
  parameterwise: bool = True
  weight_decay: float | Callable[[int], float] = 0.0
  weight_decay_mask: Sequence[bool] | None = None  # Of each tensor.
  homeostasis: Homeostasis | None = Homeostasis()
  eps: float = 1e-8


def at(value: Any, count: int) -> float:
  return value(count) if callable(value) else value


class Reference:
  """The optimizer's direction over a flat list of tensors."""

  def __init__(self, params: Sequence[np.ndarray], h: Hyperparameters):
    self.h = h
    self.count = 0
    self.activity = [np.zeros(np.shape(p)) for p in params]
    self.memory_mu = [np.zeros_like(p) for p in params]
    self.memory_nu = [np.zeros(np.shape(p)) for p in params]

  def alpha_gradient(self, g: np.ndarray) -> np.ndarray:
    """α_grad of a tensor."""
    h = self.h
    bounds = h.min_alpha, h.max_alpha, h.parameterwise
    return clip(normalize(np.abs(g), h.eps), *bounds)

  def alpha(self, i: int, g: np.ndarray) -> np.ndarray:
    """α of tensor i, after its moments were updated."""
    h = self.h
    a, m, v = self.activity[i], self.memory_mu[i], self.memory_nu[i]
    bounds = h.min_alpha, h.max_alpha, h.parameterwise
    alpha_gradient = self.alpha_gradient(g)
    if h.gradient_only:
      return alpha_gradient
    weights = h.activity_weight, h.gradient_weight, h.memory_weight
    alpha_full = clip(full_signal(a, g, m, v, weights, h.eps), *bounds)
    kappa = at(h.plasticity_scale, self.count)
    return extrapolate(alpha_gradient, alpha_full, kappa)

  def regulate(self, i: int, u: np.ndarray) -> np.ndarray:
    """Homeostasis on the update of tensor i."""
    h = self.h.homeostasis
    if h is None:
      return u
    if h.max_update_norm is not None:
      u = clip_norm(u, h.max_update_norm, self.h.eps)
    if h.target_rms is not None:
      scale = 1.0 if h.target_rms_scale is None else h.target_rms_scale[i]
      u = pull_rms(u, h.target_rms * scale, h.adaptation_rate, self.h.eps)
    return u

  def update(
    self,
    gradients: Sequence[np.ndarray],
    params: Sequence[np.ndarray],
    base_updates: Sequence[np.ndarray] | None = None,
    rule: Callable[..., np.ndarray] | None = None,
  ) -> list[np.ndarray]:
    """The directions of one update; without a base its updates are g.

    `rule(i, b, alpha, alpha_gradient)` gives the modulated update of tensor i;
    without one the rule is direct.
    """
    h = self.h
    directions = []
    for i, (g, theta) in enumerate(zip(gradients, params, strict=True)):
      self.activity[i] = activity(self.activity[i], g, h.activity_decay)
      self.memory_mu[i] = memory_mu(self.memory_mu[i], g, h.memory_b1)
      self.memory_nu[i] = memory_nu(self.memory_nu[i], g, h.memory_b2)
      b = g if base_updates is None else base_updates[i]
      alpha = self.alpha(i, g)
      u = direct(alpha, b)
      if rule is not None:
        u = rule(i, b, alpha, self.alpha_gradient(g))
      if h.weight_decay_mask is None or h.weight_decay_mask[i]:
        u = couple(u, theta, at(h.weight_decay, self.count))
      directions.append(self.regulate(i, u))
    self.count += 1
    return directions
