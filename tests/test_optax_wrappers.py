"""Optax's wrappers and injection work around this optimizer."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import neuroplastic_optimizer
from tests.running import trained
from tests.settings import every_setting
from tests.settings import inject
from tests.settings import SETTINGS
from tests.trees import is_matrix
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of

# inject_hyperparams.

HYPERPARAMETERS = dict(
  learning_rate=0.1,
  activity_weight=0.5,
  memory_b2=0.999,
  max_alpha=1.5,
  plasticity_scale=2.0,
  weight_decay=0.01,
)


def test_injected_hyperparameters_are_the_hyperparameters():
  params, gradients = random_tree(0), random_trees(5)
  state = inject(**HYPERPARAMETERS).init(params)
  numbers = {
    'activity_decay', 'activity_weight', 'eps', 'gradient_weight',
    'learning_rate', 'max_alpha', 'memory_b1', 'memory_b2', 'memory_weight',
    'min_alpha', 'plasticity_scale', 'weight_decay',
  }  # fmt: skip
  assert state.hyperparams.keys() >= numbers
  actual, _ = trained(
    inject(**HYPERPARAMETERS), params, gradients, compiled=True
  )
  plain = neuroplastic_optimizer(**HYPERPARAMETERS)
  expected, _ = trained(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_injected_hyperparameters_of_low_precision(dtype):
  # Injection rounds every number to the params' dtype: 0.999 to 1 in
  # bfloat16, 1e-8 to 0 in float16. Neither may make a NaN or a standstill.
  params, gradients = random_tree(0, dtype), random_trees(20, dtype)
  tx = inject(**HYPERPARAMETERS)
  state = tx.init(params)
  for gradient in gradients[:3]:
    updates, state = jax.jit(tx.update)(gradient, state, params)
    assert types_of(updates) == types_of(gradient)
  _, state = trained(tx, params, gradients)
  chex.assert_tree_all_finite(state)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    moved = optax.tree.get(state, name)
    assert all(jnp.all(x != 0) for x in jax.tree.leaves(moved)), name
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = jax.jit(tx.update)(zero, tx.init(params), zero)
  chex.assert_trees_all_equal(updates, zero)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_injected_hyperparameters_may_have_a_dtype_of_their_own(dtype):
  params, gradients = random_tree(0, dtype), random_trees(5, dtype)
  wide = optax.inject_hyperparams(
    neuroplastic_optimizer, hyperparam_dtype=jnp.float32
  )
  actual, _ = trained(wide(**HYPERPARAMETERS), params, gradients)
  expected, _ = trained(
    neuroplastic_optimizer(**HYPERPARAMETERS), params, gradients
  )
  chex.assert_trees_all_close(
    actual, expected, rtol=2 * float(jnp.finfo(dtype).eps)
  )


def test_injected_hyperparameters_changed_by_hand():
  params, (gradient, *_) = random_tree(0), random_trees(1)
  tx = inject(0.1, homeostasis=None)
  update = jax.jit(tx.update)
  state = tx.init(params)
  before, _ = update(gradient, state, params)
  state.hyperparams['learning_rate'] *= 2
  after, state = update(gradient, state, params)
  chex.assert_trees_all_equal(after, jax.tree.map(lambda u: 2 * u, before))
  for name in ('min_alpha', 'max_alpha'):
    state.hyperparams[name] = jnp.float32(1)
  after, _ = update(gradient, state, params)
  sgd = jax.tree.map(lambda g: -0.2 * g, gradient)
  chex.assert_trees_all_close(after, sgd, rtol=1e-6)


@pytest.mark.parametrize('name', ['learning_rate', 'plasticity_scale'])
def test_injected_schedules_are_the_schedules(name):
  params, gradients = random_tree(0), random_trees(5)
  arguments = HYPERPARAMETERS | {name: optax.linear_schedule(0.0, 2.0, 4)}
  actual, state = trained(inject(**arguments), params, gradients)
  plain = neuroplastic_optimizer(**arguments)
  expected, _ = trained(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)
  assert state.hyperparams[name] == 2.0


def test_an_injected_mask_function_is_refused():
  tx = inject(0.1, weight_decay=0.1, weight_decay_mask=is_matrix)
  with pytest.raises(TypeError, match="static_args='weight_decay_mask'"):
    tx.init(random_tree(0))


def test_an_injected_decay_of_0_without_params_names_static_args():
  params = random_tree(0)
  tx = inject(learning_rate=0.1)
  with pytest.raises(ValueError, match="default 0, pass static_args='weight_d"):
    tx.update(params, tx.init(params))
  tx = optax.inject_hyperparams(neuroplastic_optimizer, 'weight_decay')(0.1)
  tx.update(params, tx.init(params))


def test_an_injected_integer_of_axes_is_refused():
  with pytest.raises(TypeError, match="static_args='stacked_axes'"):
    inject(0.1, stacked_axes=1).init(random_tree(0))


def test_a_static_mask_function_works_injected():
  arguments = dict(
    learning_rate=0.1, weight_decay=0.1, weight_decay_mask=is_matrix
  )
  with_mask = optax.inject_hyperparams(
    neuroplastic_optimizer, static_args='weight_decay_mask'
  )
  params, gradients = random_tree(0), random_trees(3)
  actual, _ = trained(with_mask(**arguments), params, gradients)
  plain = neuroplastic_optimizer(**arguments)
  expected, _ = trained(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


# Other wrappers.


@every_setting
def test_multi_steps_accumulates(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = random_tree(0), random_trees(4)
  # Pairs of equal gradients: their mean is exact.
  doubled = [gradient for gradient in gradients for _ in range(2)]
  actual, state = trained(
    optax.MultiSteps(tx, 2), params, doubled, compiled=True
  )
  expected = trained(tx, params, gradients)
  chex.assert_trees_all_close(
    (actual, state.inner_opt_state), expected, rtol=2e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  ('poison', 'settings'),
  [
    (np.nan, {}),
    (np.inf, {}),
    (np.nan, SETTINGS['gradient_only']),
    (np.nan, SETTINGS['adam']),
  ],
)
def test_apply_if_finite_leaves_no_trace_of_a_bad_step(poison, settings):
  tx = optax.apply_if_finite(neuroplastic_optimizer(0.1, **settings), 3)
  params, gradients = random_tree(0), random_trees(4)
  bad = gradients[0] | {'scale': jnp.float32(poison)}
  run = functools.partial(trained, tx, params, compiled=True)
  good = run(gradients)
  actual = run([*gradients[:2], bad, *gradients[2:]])
  chex.assert_trees_all_equal(actual[0], good[0])
  chex.assert_trees_all_equal(actual[1].inner_state, good[1].inner_state)
  assert actual[1].total_notfinite == 1


@every_setting
def test_masked(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  mask = {'dense': {'kernel': True, 'bias': False}, 'scale': False}
  params, gradients = random_tree(0), random_trees(3)
  actual, _ = trained(optax.masked(tx, mask), params, gradients)
  kernel = lambda tree: {'kernel': tree['dense']['kernel']}
  expected, _ = trained(tx, kernel(params), map(kernel, gradients))
  chex.assert_trees_all_equal(actual['dense']['kernel'], expected['kernel'])


# The mask of the decay is as large as the params, of which `masked` shows a
# part.
def test_masked_with_a_mask_inside():
  tx = neuroplastic_optimizer(
    0.1,
    weight_decay=0.1,
    weight_decay_mask={
      'dense': {'kernel': True, 'bias': False},
      'scale': True,
    },
  )
  outer = {'dense': True, 'scale': False}
  params, gradients = random_tree(0), random_trees(3)
  actual, _ = trained(optax.masked(tx, outer), params, gradients)
  expected, _ = trained(tx, params, gradients)
  chex.assert_trees_all_equal(actual['dense'], expected['dense'])


@pytest.mark.parametrize('partition', [optax.partition, optax.multi_transform])
def test_partition(partition):
  ours, other = neuroplastic_optimizer(0.1), optax.adam(0.01)
  tx = partition(
    {'ours': ours, 'other': other}, {'dense': 'ours', 'scale': 'other'}
  )
  params, gradients = random_tree(0), random_trees(3)
  actual, _ = trained(tx, params, gradients)
  for part, alone in (('dense', ours), ('scale', other)):
    expected, _ = trained(alone, params[part], [g[part] for g in gradients])
    chex.assert_trees_all_equal(actual[part], expected)
