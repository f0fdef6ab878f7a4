"""Trees and masks that do not fit are refused, those that fit act."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import neuroplastic
from tests.problems import problem
from tests.running import all_updates
from tests.trees import PARAMS


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


MISFITS = [
  {'w': True},
  {'w': True, 'b': True, 'c': True},
  {'w': {'x': True}, 'b': True},
  [True, False],
  lambda params: {'w': True},
]


@pytest.mark.parametrize('mask', MISFITS)
def test_masks_that_do_not_fit_are_refused(mask):
  tx = neuroplastic(weight_decay=0.1, weight_decay_mask=mask)
  with pytest.raises(ValueError, match='weight_decay_mask must be a pytree'):
    tx.init(PARAMS)


@pytest.mark.parametrize(
  'mask',
  [
    {'w': 1, 'b': 0},
    {'w': 'yes', 'b': 'no'},
    {'w': jnp.asarray(True), 'b': False},
    lambda params: jax.tree.map(jnp.any, params),
  ],
)
def test_masks_must_hold_python_bools(mask):
  tx = neuroplastic(weight_decay=0.1, weight_decay_mask=mask)
  with pytest.raises(TypeError, match='weight_decay_mask must be Python bools'):
    tx.init(PARAMS)
