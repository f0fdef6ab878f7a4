"""Mechanisms with NeuroPlastic, and with one another."""

import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic

# The three chains of the module's docstring.
CHAINS = {
  'protected': optax.chain(
    neuroplastic(mechanisms.scale_by_upgd(), modulation=modulations.Gain()),
    optax.scale_by_learning_rate(0.1),
    mechanisms.clip_weights(mechanisms.fan_in_bounds(scale=3.0)),
  ),
  'curled': optax.chain(
    mechanisms.regenerate(1e-3),
    neuroplastic(),
    mechanisms.flip_signs(fraction=0.05, axis='output'),
    optax.scale_by_learning_rate(0.1),
  ),
  'noisy': mechanisms.neural_variability(
    optax.chain(
      mechanisms.synergy(
        {'adam': optax.scale_by_adam(), 'plastic': neuroplastic()},
        assignment='adaptive',
      ),
      optax.scale_by_learning_rate(0.01),
      mechanisms.exponentiate(),
    ),
    scale=1e-3,
  ),
  'base': optax.chain(
    neuroplastic(mechanisms.scale_by_upgd()), optax.scale(-0.1)
  ),
}


@pytest.mark.parametrize('tx', CHAINS.values(), ids=CHAINS)
def test_chains_with_neuroplastic_train(tx):
  keys = jax.random.split(jax.random.key(0), 4)
  x = jax.random.normal(keys[0], (64, 20))
  y = jnp.tanh(x @ jax.random.normal(keys[1], (20, 1)))
  params = {
    'first': {
      'kernel': jax.random.normal(keys[2], (20, 32)) / 5,
      'bias': jnp.full(32, 0.1),
    },
    'last': {'kernel': jax.random.normal(keys[3], (32, 1)) / 6},
  }

  def loss(p):
    hidden = jnp.tanh(x @ p['first']['kernel'] + p['first']['bias'])
    return jnp.mean((hidden @ p['last']['kernel'] - y) ** 2)

  @jax.jit
  def step(params, state):
    gradient = jax.grad(loss)(params)
    updates, state = tx.update(gradient, state, params, new_task=False)
    return optax.apply_updates(params, updates), state

  start, state = float(loss(params)), tx.init(params)
  for _ in range(150):
    params, state = step(params, state)
  assert float(loss(params)) < 0.5 * start
