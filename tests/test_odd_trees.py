"""Trees that are empty, have holes, or leaves of odd sizes."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.running import trained
from tests.settings import every_setting
from tests.settings import SETTINGS
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of


@every_setting
@pytest.mark.parametrize('tree', [{}, (), {'a': None, 'b': ()}])
def test_empty_trees(settings, tree):
  tx = neuroplastic_optimizer(0.1, **settings)
  updates, _ = jax.jit(tx.update)(tree, tx.init(tree), tree)
  assert updates == tree


@every_setting
@pytest.mark.parametrize('hole', [None, optax.MaskedNode()])
def test_holes_in_the_tree_stay_holes(settings, hole):
  tx = neuroplastic_optimizer(0.1, **settings)
  with_hole = lambda tree: {'hole': hole, 'rest': tree}
  params, gradients = random_tree(0), random_trees(3)
  actual, state = trained(tx, with_hole(params), map(with_hole, gradients))
  expected, _ = trained(tx, params, gradients)
  chex.assert_trees_all_equal(actual, with_hole(expected))
  if not settings.get('gradient_only'):
    assert optax.tree.get(state, 'activity')['hole'] == hole


def test_no_tree_at_all():
  tx = neuroplastic_optimizer(0.1)
  updates, _ = jax.jit(tx.update)(None, tx.init(None), None)
  assert updates is None


@pytest.mark.parametrize('name', ['default', 'gradient_only'])
def test_a_missing_gradient_leaves_its_moments_alone(name):
  tx = neuroplastic(**SETTINGS[name])
  params, (gradient, *_) = random_tree(0), random_trees(1)
  _, state = tx.update(gradient, tx.init(params), params)
  partial = gradient | {'dense': {'kernel': None, 'bias': None}}
  updates, after = tx.update(partial, state, params)
  assert updates['dense'] == {'kernel': None, 'bias': None}
  full, _ = tx.update(gradient, state, params)
  chex.assert_trees_all_equal(updates['scale'], full['scale'])
  if name != 'gradient_only':
    chex.assert_trees_all_equal(
      after.activity['dense'], state.activity['dense']
    )


@every_setting
@pytest.mark.parametrize('shape', [(), (1, 1), (3, 0)])
def test_leaves_of_odd_sizes(settings, shape):
  tx = neuroplastic_optimizer(0.1, **settings)
  params = {'odd': jnp.ones(shape), 'even': jnp.arange(4.0)}
  state = tx.init(params)
  # Not even a NaN that nobody sees, such as the mean of nothing.
  with jax.debug_nans(True):
    updates, after = tx.update(params, state, params)
  assert types_of(updates) == types_of(params)
  assert types_of(after) == types_of(state)
  chex.assert_tree_all_finite((updates, after))
  # What is beside a leaf makes no difference to it.
  alone = {'even': params['even']}
  expected, _ = tx.update(alone, tx.init(alone), alone)
  chex.assert_trees_all_close(updates['even'], expected['even'], rtol=1e-6)


@pytest.mark.parametrize('size', [2**31 - 1, 2**31, 2**34])
def test_a_leaf_may_have_more_elements_than_int32_counts(size):
  tx = neuroplastic(weight_decay=0.1, diagnostics='global')
  params = jax.ShapeDtypeStruct((size // 2**10, 2**10), jnp.bfloat16)
  state = jax.eval_shape(tx.init, params)
  updates, _ = jax.eval_shape(tx.update, params, state, params)
  assert updates.shape == params.shape
