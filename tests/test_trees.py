"""Trees, masks and stacked axes that fit, and those that do not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.running import all_updates
from tests.running import run
from tests.running import trained
from tests.settings import every_setting
from tests.settings import RULES
from tests.settings import SETTINGS
from tests.trees import PARAMS
from tests.trees import problem
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of


def test_leaves_must_be_floating_or_complex():
  params = {'w': jnp.ones(2), 'steps': [jnp.zeros((), jnp.int32)]}
  message = r"params\['steps'\]\[0\] of dtype int32.*optax.masked"
  with pytest.raises(TypeError, match=message):
    neuroplastic().init(params)
  tx = neuroplastic(gradient_only=True)
  message = r"updates\['steps'\]\[0\] of dtype int32"
  with pytest.raises(TypeError, match=message):
    tx.update(params, tx.init({'w': jnp.ones(2), 'steps': [jnp.ones(())]}))
  with pytest.raises(TypeError, match='of dtype bool'):
    neuroplastic().init(jnp.array(True))
  message = r"params\['act'\]. .*eqx.filter\(model, eqx.is_inexact_array\)"
  with pytest.raises(TypeError, match=message):
    neuroplastic().init({'w': jnp.ones(2), 'act': jax.nn.relu})


def test_trees_that_differ_are_refused():
  tx = neuroplastic(weight_decay=0.1)
  state = tx.init(PARAMS)
  with pytest.raises(ValueError, match='params must have the structure'):
    tx.update(PARAMS, state, {'w': PARAMS['w']})
  with pytest.raises(ValueError, match='must have the structure'):
    tx.update({'w': PARAMS['w']}, state, {'w': PARAMS['w']})
  lossy = optax.stateless(lambda updates, _: updates['w'])
  with pytest.raises(ValueError, match='the updates of the base must have'):
    neuroplastic(lossy).update(PARAMS, neuroplastic(lossy).init(PARAMS))


# Masks.


def test_a_mask_may_be_a_prefix_or_a_function():
  params, gradients = problem(6, 2)
  masks = [
    {'layer': True, 'scale': False},
    {'layer': {'w': True, 'b': True}, 'scale': False},
    {'layer': np.bool_(True), 'scale': np.bool_(False)},
    lambda params: {'layer': True, 'scale': params['scale'].ndim > 0},
  ]
  first, *others = (
    all_updates(
      neuroplastic(weight_decay=0.1, weight_decay_mask=mask),
      params,
      gradients,
    )[0]
    for mask in masks
  )
  for other in others:
    chex.assert_trees_all_equal(other, first)
  for constant in (True, False):
    masked, _ = all_updates(
      neuroplastic(
        weight_decay=0.1,
        weight_decay_mask=lambda _, constant=constant: constant,
      ),
      params,
      gradients,
    )
    expected, _ = all_updates(
      neuroplastic(weight_decay=0.1 * constant), params, gradients
    )
    chex.assert_trees_all_equal(masked, expected)


@every_setting
@pytest.mark.parametrize('tree', [{}, (), {'a': None, 'b': ()}])
def test_empty_trees_are_returned_as_they_are(settings, tree):
  tx = neuroplastic_optimizer(0.1, **settings)
  updates, _ = jax.jit(tx.update)(tree, tx.init(tree), tree)
  assert updates == tree


def test_no_tree_at_all_is_returned():
  tx = neuroplastic_optimizer(0.1)
  assert jax.jit(tx.update)(None, tx.init(None), None)[0] is None


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
def test_leaves_of_odd_sizes_are_updated_and_leave_others_alone(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  shapes = ((), (1, 1), (3, 0))
  params = {'odd': [*map(jnp.ones, shapes)], 'even': jnp.arange(4.0)}
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


@pytest.mark.parametrize('name', list(RULES))
def test_a_stack_equals_its_layers(name):
  rng = np.random.default_rng(0)
  make = lambda: jnp.asarray(rng.standard_normal((3, 4, 5)), jnp.float32)
  layers = lambda x: [x[i] for i in range(3)]
  params, gradients = make(), [make() for _ in range(3)]
  base = optax.trace(0.9) if name == 'momentum' else None
  kwargs = dict(
    modulation=RULES[name],
    weight_decay=0.1,
    controller=LearningRateController(gain=2.0),
    diagnostics='global',
  )
  stack, s = run(
    neuroplastic(base, stacked_axes=1, **kwargs), params, gradients
  )
  apart, t = run(
    neuroplastic(base, **kwargs), layers(params), list(map(layers, gradients))
  )
  np.testing.assert_allclose(stack, jnp.stack(apart), rtol=2e-6, atol=1e-7)
  for name_, value in s.diagnostics._asdict().items():
    np.testing.assert_allclose(
      value, getattr(t.diagnostics, name_), rtol=1e-5, err_msg=name_
    )


@pytest.mark.parametrize(
  'stacked_axes',
  [
    {'stack': 1, 'single': 0},
    lambda path, leaf: int(jax.tree_util.keystr(path) == "['stack']"),
  ],
)
def test_stacked_axes_may_differ_by_leaf(stacked_axes):
  rng = np.random.default_rng(0)
  g = {
    'stack': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
    'single': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
  }
  updates, _ = run(neuroplastic(stacked_axes=stacked_axes), g, [g])
  rows, _ = run(neuroplastic(), list(g['stack']), [list(g['stack'])])
  whole, _ = run(neuroplastic(), g['single'], [g['single']])
  np.testing.assert_allclose(updates['stack'], jnp.stack(rows), rtol=1e-6)
  np.testing.assert_allclose(updates['single'], whole, rtol=1e-6)
