"""The equations of the mechanisms, restated in NumPy float64.

Each is a class with the whole state of one leaf in its attributes, and one
method, `update(g, w, **extra)`. They share no code with the library. Where
something is drawn, the draws are given.
"""

import numpy as np
from scipy.special import expit


class Classp:
  def __init__(self, w, threshold, power, eps, scaling):
    self.G = np.zeros_like(w)
    self.threshold, self.power, self.eps = threshold, power, eps
    self.scaling = scaling

  def update(self, g, w):
    u = np.zeros_like(g)
    for i in np.ndindex(g.shape):
      if g[i] ** 2 > self.threshold:
        self.G[i] += abs(g[i]) ** self.power
        scale = (self.eps + self.G[i]) ** (1 / self.power)
        u[i] = g[i] / scale if self.scaling else g[i]
    return u


class Upgd:
  """Over a list of leaves, since the largest utility is of all of them."""

  def __init__(
    self, ws, decay, noise, protect, bias_correction=True, scaling='global',
    scale=1.0,
  ):  # fmt: skip
    self.U = [np.zeros_like(w) for w in ws]
    self.t = 0
    self.decay, self.noise, self.scaling = decay, noise, scaling
    self.scale = scale
    self.protect, self.bias_correction = protect, bias_correction

  def update(self, gs, ws, draws):
    self.t += 1
    beta = self.decay
    self.U = [
      beta * U - (1 - beta) * g * w
      for U, g, w in zip(self.U, gs, ws, strict=True)
    ]
    corrected = [U / (1 - beta**self.t) for U in self.U]
    of_all = corrected if self.bias_correction else self.U
    most = max(x.max() for x in of_all)
    most = most if most > 0 else 1.0
    us = []
    for x, g, xi in zip(corrected, gs, draws, strict=True):
      if self.scaling == 'global':
        q = expit(x / most)
      elif x.ndim < 2:
        q = expit(x / (np.sqrt((x**2).sum()) + 1e-12))
      else:
        norm = np.sqrt((x**2).sum(-2, keepdims=True))
        q = expit(x / (norm + 1e-12))
      if self.protect:
        us.append(self.scale * (g + self.noise * xi) * (1 - q))
      else:
        us.append(self.scale * (g + self.noise * xi * (1 - q)))
    return us


class Consolidation:
  def __init__(self, w, strength, importance, anchor_decay, importance_decay):
    self.sums = np.zeros_like(w), np.zeros_like(w)
    self.totals = 0.0, 0.0
    self.decays = anchor_decay, importance_decay
    self.strength, self.importance = strength, importance

  def update(self, g, w):
    seen = w, (g**2 if self.importance == 'ewc' else abs(g))
    rows = zip(self.decays, self.sums, seen, strict=True)
    self.sums = tuple(d * s + (1 - d) * x for d, s, x in rows)
    rows = zip(self.decays, self.totals, strict=True)
    self.totals = tuple(d * t + (1 - d) for d, t in rows)
    mean, F = (s / t for s, t in zip(self.sums, self.totals, strict=True))
    return g + self.strength * F * (w - mean)


class Elastic:
  def __init__(self, w, strength, decay, forgetting):
    self.S, self.F, self.anchor = np.zeros_like(w), np.zeros_like(w), w.copy()
    self.n, self.t, self.passed = 0, 0, False
    self.strength, self.decay, self.forgetting = strength, decay, forgetting

  def update(self, g, w, new_task):
    if new_task and self.t > 0:
      self.F = self.decay * self.F + self.S / self.n
      self.anchor, self.S, self.n = w.copy(), np.zeros_like(w), 0
      self.passed = True
    self.S = self.S + g**2
    self.n += 1
    self.t += 1
    u = g + self.strength * self.F * (w - self.anchor)
    return u + self.forgetting * w if self.passed else u


class Intelligence:
  def __init__(self, w, strength, damping):
    self.path, self.importance = np.zeros_like(w), np.zeros_like(w)
    self.anchor, self.last = w.copy(), None
    self.strength, self.damping = strength, damping

  def update(self, g, w, new_task):
    if self.last is not None:
      g_last, w_last = self.last
      self.path = self.path - g_last * (w - w_last)
      if new_task:
        moved = (w - self.anchor) ** 2 + self.damping
        self.importance = self.importance + np.maximum(self.path, 0) / moved
        self.anchor, self.path = w.copy(), np.zeros_like(w)
    self.last = g.copy(), w.copy()
    return g + self.strength * self.importance * (w - self.anchor)


class Regenerate:
  def __init__(self, w, strength, norm):
    self.first, self.strength, self.norm = w.copy(), strength, norm

  def update(self, g, w):
    d = np.array(w - self.first)
    if self.norm == 'wasserstein':
      first = sorted(self.first.ravel())
      places = sorted(np.ndindex(w.shape), key=lambda i: w[i])
      for i, target in zip(places, first, strict=True):
        d[i] = 2 / w.size * (w[i] - target)
    return g + self.strength * (np.sign(d) if self.norm == 'l1' else d)


class Metaplasticity:
  def __init__(self, w, strength):
    self.strength = strength

  def update(self, g, w):
    if w.ndim < 2:
      return g
    factor = 1 - np.tanh(self.strength * abs(w)) ** 2
    return np.where(g * w > 0, g * factor, g)


class Exponentiate:
  def __init__(self, w, max_exponent):
    self.c = max_exponent

  def update(self, g, w):
    exponent = np.clip(np.sign(w) * g, -self.c, self.c)
    return w * np.exp(exponent) - w


class KeepSigns:
  def __init__(self, w):
    pass

  def update(self, g, w):
    changes = ((w > 0) & (w + g < 0)) | ((w < 0) & (w + g > 0))
    return np.where(changes, -w, g)


class ShrinkAndPerturb:
  def __init__(self, w, shrink, perturb, every, noise):
    self.shrink, self.every, self.t = shrink, every, 0
    self.perturb = perturb * (np.std(w) if noise == 'init' else 1)

  def update(self, g, w, draw):
    self.t += 1
    if self.t % self.every:
      return g
    return g - self.shrink * w + self.perturb * draw


class Clip:
  def __init__(self, w, bound):
    self.bound = bound

  def update(self, g, w):
    return np.minimum(np.maximum(w + g, -self.bound), self.bound) - w


class Sleep:
  def __init__(self, w, period, fraction, strength, jitter):
    self.period, self.length = period, round(fraction * period)
    self.strength, self.jitter, self.t = strength, jitter, 0
    if w.ndim > 1:
      self.first = abs(w).sum(tuple(range(w.ndim - 1)))

  def update(self, g, w, draw):
    place = self.t % self.period - (self.period - self.length)
    self.t += 1
    if place < 0:
      return g
    if w.ndim < 2:
      return np.zeros_like(g)
    if place == 0:
      self.fell = abs(w).sum(tuple(range(w.ndim - 1)))
    u = np.zeros_like(w)
    for unit in range(w.shape[-1]):
      first, fell = self.first[unit], self.fell[unit]
      if fell > first > 0:
        end = (1 - self.strength) * fell + self.strength * first
        ratio = (end / fell) ** (1 / self.length)
        shaken = np.exp(self.jitter * draw[..., unit] - self.jitter**2 / 2)
        u[..., unit] = w[..., unit] * (ratio * shaken) - w[..., unit]
    return u


class Tortoise:
  def __init__(self, w, decay, period):
    self.slow, self.decay, self.period, self.t = w.copy(), decay, period, 0

  def update(self, g, w):
    self.t += 1
    self.slow = self.decay * self.slow + (1 - self.decay) * (w + g)
    return g if self.t % self.period else self.slow - w


class Project:
  def __init__(self, w):
    self.norm = np.linalg.norm(w)

  def update(self, g, w):
    moved = np.linalg.norm(w + g)
    if w.ndim < 2 or not self.norm or not moved:
      return g
    return (w + g) * self.norm / moved - w


class RegenerateInactive:
  """Around SGD with a learning rate of 0.1 and momentum of 0.5."""

  def __init__(self, w, rate, threshold, decay, utility, to, every):
    self.rate, self.threshold, self.decay = rate, threshold, decay
    self.utility, self.to, self.every, self.t = utility, to, every, 0
    self.first, self.s, self.trace = w.copy(), 0 * w, 0 * w

  def update(self, g, w, draw):
    self.t += 1
    self.trace = 0.5 * self.trace + g
    u = -0.1 * self.trace
    size = {'activity': abs(g), 'contribution': abs(g * w)}.get(self.utility)
    if size is None:
      self.s = abs(w)
    else:
      self.s = self.decay * self.s + (1 - self.decay) * size
    if self.t % self.every:
      return u
    inactive = self.s < self.threshold * np.mean(self.s)
    target = self.first
    if self.to == 'fresh':
      target = np.mean(self.first) + np.std(self.first) * draw
      self.s = 0 * w
    return u - self.rate * np.where(inactive, w - target, 0.0)


class UpgdUnits:
  """By units, for one layer, [fan-in, H] and [H] in and [H, out] out."""

  def __init__(self, size, decay, noise, scaling, scale):
    self.U, self.t = np.zeros(size), 0
    self.decay, self.noise = decay, noise
    self.scaling, self.scale = scaling, scale

  def update(self, g, w, draws):
    """The update of the incoming kernel and of a vector."""
    self.t += 1
    m = np.array([-sum(w['out'][j] * g['out'][j]) for j in range(len(self.U))])
    self.U = self.decay * self.U + (1 - self.decay) * m
    x = self.U / (1 - self.decay**self.t)
    if self.scaling == 'local':
      x = x / (np.sqrt((x**2).sum()) + 1e-12)
    else:
      x = x / (x.max() if x.max() > 0 else 1.0)
    gate = self.scale * (1 - expit(x))
    return {
      name: (g[name] + self.noise * draws[name]) * gate
      for name in ('in', 'bias')
    }
