"""Recycling and its rules, restated in NumPy float64.

They share no code with the library. `Recycle` is that of a network of dense
layers, `kernels[i]` and `biases[i]`, around SGD with a learning rate of 0.1; a
rule is a class with the whole state of one layer.
"""

import numpy as np


def _relative(sizes, eps):
  return sizes / (sizes.mean() + eps)


class Redo:
  def __init__(self, size, threshold):
    self.threshold = threshold

  def observe(self, h, G, K_in, K_out):
    self.s = _relative(abs(h).mean(0), 1e-9)

  def choose(self):
    return (self.s <= self.threshold).astype(float)


class GradientMagnitude:
  def __init__(self, size, threshold):
    self.threshold = threshold

  def observe(self, h, G, K_in, K_out):
    self.s = _relative(abs(G).mean(0), 1e-8)
    self.silent = not G.any()

  def choose(self):
    return (self.s <= self.threshold) * (0.0 if self.silent else 1.0)


class ContinualBackprop:
  def __init__(self, size, replacement_rate, maturity, decay, utility):
    self.age, self.f, self.util = np.zeros((3, size))
    self.acc = np.float32(0)
    self.rate, self.maturity, self.decay = replacement_rate, maturity, decay
    self.utility = utility

  def observe(self, h, G, K_in, K_out):
    eta = self.decay
    self.age = self.age + 1
    bias = 1 - eta**self.age
    self.f = eta * self.f + (1 - eta) * h.mean(0)
    out = abs(K_out).mean(1)
    if self.utility == 'contribution':
      y = out * abs(h).mean(0)
    else:
      moved = abs(h - self.f / bias).mean(0)
      y = out * moved / (abs(K_in).mean(0) + 1e-8)
    self.util = eta * self.util + (1 - eta) * y
    self.corrected = self.util / bias
    self.eligible = [j for j, a in enumerate(self.age) if a > self.maturity]
    self.acc = np.float32(
      self.acc + np.float32(self.rate) * np.float32(len(self.eligible))
    )

  def choose(self):
    n = min(int(self.acc), len(self.eligible))
    self.acc = np.float32(self.acc - n)
    r = np.zeros(len(self.age))
    for j in sorted(self.eligible, key=lambda j: (self.corrected[j], j))[:n]:
      r[j] = 1
      self.age[j] = self.f[j] = self.util[j] = 0
    return r


class SelfNormalized:
  def __init__(self, size, percentile, max_age, initial_age, adapt_every):
    self.percentile, self.max_age = percentile, max_age
    self.adapt_every, self.t = adapt_every, 0
    self.age = [0] * size
    self.tau = [initial_age] * size
    self.hist = [[] for _ in range(size)]

  def observe(self, h, G, K_in, K_out):
    self.t += 1
    for j, fires in enumerate((h > 0).any(0)):
      if fires:
        self.hist[j].append(min(self.age[j], self.max_age))
        self.age[j] = 0
      else:
        self.age[j] += 1

  def choose(self):
    r = np.zeros(len(self.age))
    for j, age in enumerate(self.age):
      if age >= self.tau[j]:
        r[j] = 1
        self.hist[j].append(min(age, self.max_age))
        self.age[j] = 0
    return r

  def adapt(self):
    if self.t % self.adapt_every:
      return
    for j, ages in enumerate(self.hist):
      ages = sorted(age for age in ages if age > 0)
      if ages:
        share = np.arange(1, len(ages) + 1) / len(ages)
        first = max(1, ages[int(np.argmax(share >= self.percentile))])
        tau = first if first < self.tau[j] else 2 * self.tau[j]
        self.tau[j] = min(max(tau, 1), self.max_age)
      self.hist[j] = []


class CalibratedPartial:
  keeps_vectors = True

  def __init__(self, size, rate, sharpness, decay):
    self.rate, self.sharpness, self.decay = rate, sharpness, decay
    self.util = np.ones(size)

  def observe(self, h, G, K_in, K_out):
    s = _relative(abs(G).mean(0), 1e-8)
    self.util = self.decay * self.util + (1 - self.decay) * s

  def choose(self):
    z = np.exp(self.sharpness * (self.util - 1))
    r = self.rate * np.minimum(2 / (1 + z), 1)
    self.util = np.ones_like(self.util)
    return r


class Recycle:
  """The params after each update; `fresh(shape)` gives fresh weights."""

  def __init__(self, kernels, biases, make_rule, every, fresh):
    self.kernels, self.biases = kernels, biases
    self.rules = [make_rule(K.shape[1]) for K in kernels[:-1]]
    self.every, self.fresh, self.t = every, fresh, 0

  def update(self, kernel_gradients, bias_gradients, activations):
    self.t += 1
    kernels = [
      K - 0.1 * G for K, G in zip(self.kernels, kernel_gradients, strict=True)
    ]
    biases = [
      b - 0.1 * g for b, g in zip(self.biases, bias_gradients, strict=True)
    ]
    shares = []
    for i, rule in enumerate(self.rules):
      rule.observe(
        activations[i], kernel_gradients[i], kernels[i], kernels[i + 1]
      )
    for i, rule in enumerate(self.rules):
      r = np.zeros(kernels[i].shape[1])
      if self.t % self.every == 0:
        r = rule.choose()
      if hasattr(rule, 'adapt'):
        rule.adapt()
      shares.append(r)
    for i, r in enumerate(shares):
      fresh = self.fresh(kernels[i].shape)
      kernels[i] = (1 - r) * kernels[i] + r * fresh
      if not hasattr(self.rules[i], 'keeps_vectors'):
        biases[i] = (1 - r) * biases[i]
    for i, r in enumerate(shares):
      kernels[i + 1] = (1 - r)[:, None] * kernels[i + 1]
    self.kernels, self.biases = kernels, biases
    return shares
