"""Mechanisms with NeuroPlastic, and with one another."""

import itertools

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.mechanisms.registry import beside

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
}


@pytest.mark.slow
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


WRAPPERS = {
  'inactive': mechanisms.regenerate_inactive(optax.sgd(0.1), threshold=1.0),
  'inactive_fresh': mechanisms.regenerate_inactive(
    optax.identity(), 1.0, 1.0, utility='contribution', to='fresh'
  ),
  'variability': mechanisms.neural_variability(optax.sgd(0.1)),
  'variability_kept': mechanisms.neural_variability(
    optax.identity(), 1.0, 'laplace', refresh=2
  ),
  **{
    f'synergy_{assignment}': mechanisms.synergy(
      {'a': optax.identity(), 'b': optax.scale(0.5)}, assignment
    )
    for assignment in ('blend', 'partition', 'adaptive')
  },
}


def test_wrappers_make_no_nan_or_infinity():
  """Around transformations that make none themselves."""
  tx = beside(WRAPPERS)
  update = jax.jit(tx.update)
  signs = jnp.array([[0.7, -1.0], [0.0, 0.3]])

  def tree(leaf):
    both = {dtype: leaf.astype(dtype) for dtype in ('float32', 'bfloat16')}
    return dict.fromkeys(WRAPPERS, both)

  init = jax.jit(tx.init)
  magnitudes = (0.0, 1e-38, 1e-30, 1.0, 1e30, 1e38)
  for of_params, of_gradient in itertools.product(magnitudes, magnitudes):
    params, gradient = tree(signs * of_params), tree(signs.T * of_gradient)
    state = init(params)
    for _ in range(2):
      updates, state = update(gradient, state, params)
      chex.assert_tree_all_finite((updates, state))
