"""The rivals written here follow their papers, restated in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import optimizers
from experiments.optimizers import adam_rules

RATE, DECAY = 0.01, 0.1
SHAPES = {'a': (7,), 'b': (4, 5), 'c': (1,)}


def _problem(steps=8):
  """Parameters, and noisy gradients of which some elements are 0."""
  rng = np.random.default_rng(0)
  params = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
  drift = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
  gradients = []
  for step in range(steps):
    gradient = {
      name: 0.3 * drift[name] + rng.normal(size=shape)
      for name, shape in SHAPES.items()
    }
    gradient['a'][step % 3] = 0.0
    gradients.append(gradient)
  gradients[-2] = jax.tree.map(np.zeros_like, gradients[-2])
  return params, gradients


def _adam(history, eps=1e-8):
  """Adam's step and its first moment, from all gradients so far."""
  m = v = np.zeros_like(history[0])
  for g in history:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
  t = len(history)
  return (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + eps), m


def _cautious(history):
  u, _ = _adam(history)
  mask = u * history[-1] > 0
  return u * mask * (u.size / (mask.sum() + 1))


def _grams(history):
  return np.sign(history[-1]) * np.abs(_adam(history)[0])


def _mgup(history):
  u, m = _adam(history, eps=1e-6)
  alignment = (m * history[-1]).ravel()
  chosen = np.argsort(-alignment, kind='stable')[: u.size // 2]
  factor = np.full(u.size, 0.5)
  factor[chosen] = 2.0
  return u * factor.reshape(u.shape)


def _m_svag(history):
  beta = 0.9
  t = len(history) - 1  # As the paper counts.
  m = v = np.zeros_like(history[0])
  for g in history:
    m = beta * m + (1 - beta) * g
    v = beta * v + (1 - beta) * g**2
  m, v = m / (1 - beta ** (t + 1)), v / (1 - beta ** (t + 1))
  if t == 0:
    return m
  rho = (1 - beta) * (1 + beta ** (t + 1))
  rho /= (1 + beta) * (1 - beta ** (t + 1))
  s = (v - m**2) / (1 - rho)
  denominator = m**2 + rho * s
  return m * np.where(denominator > 0, m**2 / (denominator + 1e-300), 0)


def _decoupled(rule):
  """θ ← θ - η(u + λθ)."""

  def path(params, gradients):
    seen = []
    for t in range(1, len(gradients) + 1):
      u = rule(gradients[:t])
      params = params - RATE * (u + DECAY * params)
      seen.append(params)
    return np.stack(seen)

  return path


def _coupled(rule):
  """The rule of g + λθ."""

  def path(params, gradients):
    seen, history = [], []
    for gradient in gradients:
      history.append(gradient + DECAY * params)
      params = params - RATE * rule(history)
      seen.append(params)
    return np.stack(seen)

  return path


RULES = {
  'cautious_adamw': _decoupled(_cautious),
  'grams': _decoupled(_grams),
  'mgup': _decoupled(_mgup),
  'm_svag': _coupled(_m_svag),
}


def _build(arm, setting=optimizers.PUBLISHED, **numbers):
  arm = optimizers.ARMS[arm]
  return arm.build(arm.values(numbers), setting)


def _path(make, params, gradients):
  """The parameters after every update, of the optimizer that is made."""

  def step(carry, gradient):
    params, state = carry
    updates, state = make().update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    return (params, state), params

  params = jax.tree.map(jnp.float32, params)
  gradients = jax.tree.map(lambda *x: jnp.float32(np.stack(x)), *gradients)
  return jax.lax.scan(step, (params, make().init(params)), gradients)[1]


@pytest.mark.parametrize('arm', RULES)
def test_rival_follows_the_rule_of_its_paper(arm):
  params, gradients = _problem()
  make = functools.partial(_build, arm, learning_rate=RATE, weight_decay=DECAY)
  found = jax.jit(lambda: _path(make, params, gradients))()
  for name in SHAPES:
    expected = RULES[arm](params[name], [g[name] for g in gradients])
    np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)
    # The steps too, and not only where they lead.
    moved = np.diff(found[name], axis=0)
    np.testing.assert_allclose(
      moved, np.diff(expected, axis=0), rtol=1e-3, atol=2e-6
    )


@pytest.mark.parametrize('arm', RULES)
def test_zero_gradients_give_no_nan(arm):
  params, gradients = _problem(3)
  zeros = jax.tree.map(np.zeros_like, gradients[0])
  make = functools.partial(_build, arm)
  for given in ([zeros] * 3, [gradients[0], zeros, zeros]):
    found = jax.jit(lambda given=given: _path(make, params, given))()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
  make = functools.partial(_build, arm, weight_decay=0.0)
  found = jax.jit(lambda: _path(make, params, [zeros] * 3))()
  for name in SHAPES:
    np.testing.assert_array_equal(found[name][-1], np.float32(params[name]))


@pytest.mark.parametrize('rule', [adam_rules.cautious, adam_rules.mgup])
def test_slices_of_a_stack_are_updated_separately(rule):
  make = functools.partial(adam_rules.scale_by_adam_rule, rule)
  _, gradients = _problem()
  stack = jnp.float32(np.stack([g['b'] for g in gradients[:3]]))
  tx = make(lambda path, leaf: 1)
  found, _ = tx.update({'x': stack}, tx.init({'x': stack}))
  tx = make(None)
  for i, alone in enumerate(stack):
    expected, _ = tx.update({'x': alone}, tx.init({'x': alone}))
    np.testing.assert_allclose(found['x'][i], expected['x'], rtol=1e-6)


@pytest.mark.parametrize('count', [0, 1, 5, 17, 40])
def test_the_largest_elements_are_found(count):
  rng = np.random.default_rng(count)
  x = np.round(rng.normal(size=(5, 8)), 1).astype(np.float32)  # Ties.
  x[0] = -0.0
  x[1, ::2] = 0.0
  x[2, 0], x[2, 1], x[2, 2] = 1e30, -1e30, 1e-30
  expected = np.zeros(40, bool)
  expected[np.argsort(-x.ravel(), kind='stable')[:count]] = True
  find = jax.jit(functools.partial(adam_rules.largest, count=count))
  np.testing.assert_array_equal(find(x), expected.reshape(x.shape))
