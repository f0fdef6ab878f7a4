"""The params to evaluate with, found in whatever holds the state."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests.running import trained
from tests.trees import is_matrix
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of


def _slow(state):
  (found,) = optax.tree_utils.tree_get_all_with_path(state, 'slow')
  return found[1]


HOLDERS = {
  'chain': lambda tx: optax.chain(optax.scale(-0.1), tx),
  'inject': lambda tx: optax.inject_hyperparams(
    lambda rate: optax.chain(optax.scale(-rate), tx)
  )(rate=0.1),
  'finite': lambda tx: optax.apply_if_finite(tx, 3),
  'steps': lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
  'reset': mechanisms.reset_moments,
}


@pytest.mark.parametrize('wrap', HOLDERS.values(), ids=HOLDERS)
def test_they_are_found(wrap):
  tx = wrap(mechanisms.hare_and_tortoise(0.5))
  params, state = trained(tx, random_tree(0), random_trees(3))
  found = jax.jit(mechanisms.eval_params)(state, params)
  chex.assert_trees_all_equal(found, _slow(state))


def test_masked_leaves_are_as_they_are():
  for mask in (is_matrix, {'dense': True, 'scale': False}):
    tx = optax.masked(mechanisms.hare_and_tortoise(0.5), mask)
    params, state = trained(tx, random_tree(0), random_trees(3))
    found = mechanisms.eval_params(state, params)
    assert found['scale'] == params['scale']
    assert (found['dense']['kernel'] != params['dense']['kernel']).all()


def test_none_beside_masked_leaves():
  params = {'a': jnp.ones(3), 'n': None, 'c': jnp.ones(2)}
  mask = {'a': False, 'n': False, 'c': True}
  for tx in (
    mechanisms.neural_variability(optax.sgd(0.1), 0.1, mask=mask),
    mechanisms.neural_variability(optax.sgd(0.1), scale=0.0),
    optax.masked(mechanisms.hare_and_tortoise(), mask),
  ):
    chex.assert_trees_all_equal(
      mechanisms.eval_params(tx.init(params), params), params
    )


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float32'])
def test_a_mask_and_dtypes(dtype):
  tx = mechanisms.neural_variability(optax.sgd(0.1), 0.5, mask=is_matrix)
  params, state = trained(tx, random_tree(0, dtype), random_trees(3, dtype))
  found = mechanisms.eval_params(state, params)
  assert types_of(found) == types_of(params)
  assert found['scale'] == params['scale']
  assert (found['dense']['kernel'] != params['dense']['kernel']).any()


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_without_noise_it_is_the_inner_optimizer(dtype):
  inner = optax.adam(0.1)
  tx = mechanisms.neural_variability(inner, 0.0)
  params, gradients = random_tree(0, dtype), random_trees(3, dtype)
  actual, state = trained(tx, params, gradients)
  expected, _ = trained(inner, params, gradients)
  chex.assert_trees_all_equal(actual, expected)
  chex.assert_trees_all_equal(mechanisms.eval_params(state, actual), actual)


def test_clean_params_of_low_precision_do_not_drift():
  """Steps that bfloat16 would lose, under noise that it rounds."""
  tx = mechanisms.neural_variability(optax.sgd(1.0), 0.1)
  params = jnp.ones(2, jnp.bfloat16)
  gradients = [jnp.full(2, 1e-3, jnp.bfloat16)] * 200
  params, state = trained(tx, params, gradients, compiled=True)
  np.testing.assert_allclose(state.noise, 0.8, atol=2e-3)


def test_noise_of_low_precision_stays_until_it_is_drawn_anew():
  tx = mechanisms.neural_variability(optax.sgd(1.0), 0.1, refresh=3)
  params = jnp.ones(8, jnp.bfloat16)
  gradient = jnp.full(8, 1e-3, jnp.bfloat16)
  state, before = tx.init(params), 0.0
  for t in range(6):
    updates, state = tx.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    noise = np.asarray(params, np.float32) - state.noise
    # Beside 1, numbers of bfloat16 are 1/128 apart.
    assert (np.abs(noise - before).max() < 0.01) == (t % 3 != 0)
    before = noise


NONE = r'holds none\.'
MANY = 'holds more than one: '


def test_none_or_two_are_errors():
  tortoise = mechanisms.hare_and_tortoise()
  noisy = mechanisms.neural_variability
  params = random_tree(0)
  for tx, message in (
    (optax.adam(0.1), NONE),
    (optax.chain(tortoise, tortoise), MANY),
    (noisy(optax.chain(optax.sgd(0.1), tortoise)), MANY),
    (optax.chain(noisy(optax.sgd(0.1)), tortoise), MANY),
  ):
    with pytest.raises(ValueError, match=message):
      mechanisms.eval_params(tx.init(params), params)


def test_of_an_nnx_optimizer():
  model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
  tx = optax.chain(optax.sgd(0.1), mechanisms.hare_and_tortoise(0.5))
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  gradient = nnx.grad(lambda m: jnp.sum(m(jnp.ones(3)) ** 2))(model)
  before = model.kernel[...]
  optimizer.update(model, gradient)
  params = nnx.as_pure(nnx.state(model, nnx.Param))
  found = mechanisms.eval_params(optimizer.opt_state, params)
  expected = 0.5 * before + 0.5 * model.kernel[...]
  np.testing.assert_allclose(found['kernel'], expected, rtol=1e-5)
