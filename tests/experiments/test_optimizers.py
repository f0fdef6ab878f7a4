"""Each arm is the optimizer it is named after, also inside `vmap`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import optimizers
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer

SETTING = optimizers.Setting(
  steps_per_epoch=2,
  epochs=4,
  plasticity_scale=2.0,
  warmup_epochs=2,
  weight_decay=0.0,
)
DECAYED = dataclasses.replace(SETTING, weight_decay=0.1)
PARAMS = {'a': jnp.array([1.0, -2.0, 0.5]), 'b': jnp.array([[3.0, -1.0]])}
# Small enough that the norm clip of homeostasis lets it through.
GRADIENT = {'a': jnp.array([0.1, 0.2, -0.3]), 'b': jnp.array([[0.2, -0.1]])}


def _path(optimizer, steps=5):
  """The parameters after every step, with a gradient that does not change."""
  params, seen = PARAMS, []
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update(GRADIENT, state, params)
    params = optax.apply_updates(params, updates)
    seen.append(params)
  return jax.tree.map(lambda *x: np.stack(x), *seen)


def _l2(optimizer, decay=0.1):
  return optax.chain(optax.add_decayed_weights(decay), optimizer)


def _warm(count):
  """κ of SETTING, an epoch being two steps: 0, then half, then all of it."""
  return jnp.minimum(count // 2, 2.0)


def _plastic(**kwargs):
  """An arm of the design space, without decay and with it."""
  return tuple(
    neuroplastic_optimizer(
      0.01, plasticity_scale=_warm, weight_decay=decay, **kwargs
    )
    for decay in (0.0, 0.1)
  )


def _over_adam(rule):
  return _plastic(
    base=optax.scale_by_adam(), modulation=rule, decoupled_weight_decay=True
  )


EXPECTED = {
  'bfloat16_moments': _plastic(state_dtype='bfloat16'),
  'controlled': _plastic(controller=LearningRateController()),
  'bounded': _plastic(modulation=modulations.Gain(1.0, 0.5)),
  'orthogonal': _plastic(modulation=modulations.Orthogonal()),
  'gain_adam': _over_adam(modulations.Gain()),
  'momentum_adam': _over_adam(modulations.Momentum()),
  'trust_ratio_adam': _over_adam(modulations.TrustRatio()),
  'full': (
    neuroplastic_optimizer(0.01, plasticity_scale=_warm),
    neuroplastic_optimizer(0.01, plasticity_scale=_warm, weight_decay=0.1),
  ),
  'gradient_only': (
    neuroplastic_optimizer(
      0.01, gradient_only=True, min_alpha=0.5, max_alpha=1.5
    ),
    neuroplastic_optimizer(
      0.01, gradient_only=True, min_alpha=0.5, max_alpha=1.5, weight_decay=0.1
    ),
  ),
  'sgd': (optax.sgd(0.01), _l2(optax.sgd(0.01))),
  'sgdm': (optax.sgd(0.01, 0.9), _l2(optax.sgd(0.01, 0.9))),
  'adam': (optax.adam(0.01), _l2(optax.adam(0.01))),
  'adamw': (
    optax.adamw(0.01, weight_decay=0.01),
    optax.adamw(0.01, weight_decay=0.1),
  ),
}


def test_every_arm_is_tested():
  assert set(optimizers.ARMS) == set(EXPECTED)


@pytest.mark.parametrize('arm', EXPECTED)
@pytest.mark.parametrize('decayed', [False, True])
def test_an_arm_is_its_optimizer(arm, decayed):
  built = optimizers.ARMS[arm].build(0.01, DECAYED if decayed else SETTING)
  found, expected = _path(built), _path(EXPECTED[arm][decayed])
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected
  )


@pytest.mark.parametrize('arm', optimizers.ARMS)
def test_arms_are_built_inside_vmap_over_learning_rates(arm):
  rates = [0.001, 0.1]
  build = optimizers.ARMS[arm].build

  def step(rate):
    schedule = optimizers.learning_rate_schedule('cosine', rate, SETTING)
    optimizer = build(schedule, SETTING)
    state = optimizer.init(PARAMS)
    return optimizer.update(GRADIENT, state, PARAMS)[0]

  together = jax.jit(jax.vmap(step))(jnp.array(rates))
  for i, rate in enumerate(rates):
    optimizer = build(rate, SETTING)  # The cosine starts at the rate itself.
    alone, _ = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    jax.tree.map(
      lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-5),
      together,
      alone,
    )


def test_the_schedules():
  constant = optimizers.learning_rate_schedule('constant', 0.3, SETTING)
  assert constant == 0.3
  cosine = optimizers.learning_rate_schedule('cosine', 0.3, SETTING)
  steps = SETTING.epochs * SETTING.steps_per_epoch
  expected = 0.15 * (1 + np.cos(np.pi * np.arange(steps + 1) / steps))
  found = [cosine(jnp.int32(count)) for count in range(steps + 1)]
  np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize('arm', optimizers.ARMS)
def test_the_default_rate_of_an_arm_learns(arm):
  """On a quadratic: 100 steps bring the loss well down."""
  rate = optimizers.ARMS[arm].learning_rate
  setting = dataclasses.replace(SETTING, steps_per_epoch=50)
  optimizer = optimizers.ARMS[arm].build(rate, setting)
  start = jnp.array([0.1, -0.1, 0.05])
  loss = lambda x: jnp.sum(x**2)

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  carry = start, optimizer.init(start)
  (end, _), _ = jax.lax.scan(step, carry, length=100)
  assert loss(end) < 0.2 * loss(start)
