"""The optimizer is the direction, a learning rate and decoupled decay."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.problems import problem
from tests.running import all_updates
from tests.settings import NEUTRAL


def test_neutral_optimizer_is_sgd():
  params, gradients = problem(2, 3)
  actual, _ = all_updates(
    neuroplastic_optimizer(0.1, **NEUTRAL), params, gradients
  )
  expected, _ = all_updates(optax.sgd(0.1), params, gradients)
  chex.assert_trees_all_equal(actual, expected)


@pytest.mark.parametrize(
  'rate', [0.1, optax.linear_schedule(0.1, 0.0, 3), np.float32(0.1)]
)
@pytest.mark.parametrize(
  'arguments',
  [{}, dict(weight_decay=0.1), dict(base=optax.trace(0.9), max_alpha=1.5)],
)
def test_optimizer_is_direction_times_learning_rate(rate, arguments):
  params, gradients = problem(3, 4)
  actual, _ = all_updates(
    neuroplastic_optimizer(rate, **arguments), params, gradients
  )
  expected, _ = all_updates(
    optax.chain(neuroplastic(**arguments), optax.scale_by_learning_rate(rate)),
    params,
    gradients,
  )
  chex.assert_trees_all_close(actual, expected, rtol=1e-6)


def test_a_learning_rate_is_not_rounded_to_the_dtype_of_the_params():
  rate, gradient = 0.1, jnp.linspace(1, 2, 129, dtype='bfloat16')
  expected = (-rate * gradient.astype('float32')).astype('bfloat16')
  assert jnp.any(expected != -jnp.bfloat16(rate) * gradient)
  for given in (rate, jnp.float32(rate), optax.constant_schedule(rate)):
    tx = neuroplastic_optimizer(
      given, min_alpha=1.0, max_alpha=1.0, homeostasis=None
    )
    updates, _ = tx.update(gradient, tx.init(gradient))
    chex.assert_trees_all_equal(updates, expected)


def test_the_optimizer_spells_out_every_argument():
  direction = inspect.signature(neuroplastic).parameters
  complete = inspect.signature(neuroplastic_optimizer).parameters
  assert next(iter(complete)) == 'learning_rate'
  own = {'learning_rate', 'decoupled_weight_decay'}
  assert complete.keys() - own == direction.keys()
  for name, parameter in direction.items():
    assert complete[name].default == parameter.default, name
    assert complete[name].kind == inspect.Parameter.KEYWORD_ONLY


# Decoupled weight decay.


@pytest.mark.parametrize(
  'weight_decay', [0.1, optax.linear_schedule(0.0, 0.2, 3)]
)
@pytest.mark.parametrize(
  'mask',
  [
    None,
    {'layer': True, 'scale': False},
    lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
  ],
)
def test_decoupled_decay_is_chained(weight_decay, mask):
  params, gradients = problem(5, 4)
  actual, _ = all_updates(
    neuroplastic_optimizer(
      0.1,
      weight_decay=weight_decay,
      decoupled_weight_decay=True,
      weight_decay_mask=mask,
    ),
    params,
    gradients,
  )
  chain = optax.chain(
    neuroplastic(),
    optax.add_decayed_weights(weight_decay, mask),
    optax.scale_by_learning_rate(0.1),
  )
  expected, _ = all_updates(chain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-6)


def test_only_coupled_decay_is_bounded():
  params = {'w': jnp.full(4, 100.0)}
  gradient = {'w': jnp.ones(4)}
  norms = {}
  for decoupled in (False, True):
    tx = neuroplastic_optimizer(
      1.0, weight_decay=1.0, decoupled_weight_decay=decoupled
    )
    (updates,), _ = all_updates(tx, params, [gradient])
    norms[decoupled] = optax.tree.norm(updates)
  assert norms[False] < 1.01
  assert norms[True] > 199


# Names that people bring from elsewhere.


@pytest.mark.parametrize(
  ('make', 'keyword', 'advice'),
  [
    (neuroplastic_optimizer, 'lr', 'learning_rate'),
    (neuroplastic_optimizer, 'b1', 'memory_b1'),
    (neuroplastic, 'kappa', 'plasticity_scale'),
    (neuroplastic, 'mask', 'weight_decay_mask'),
    (neuroplastic, 'learning_rate', 'chain optax.scale_by_learning_rate'),
  ],
)
def test_foreign_keyword_error_names_the_argument(make, keyword, advice):
  message = f"{make.__name__}.* keyword argument '{keyword}': .*{advice}"
  with pytest.raises(TypeError, match=message):
    make(**{keyword: 0.1})


def test_class_in_place_of_a_rule_asks_for_an_instance():
  with pytest.raises(TypeError, match=r'Did you mean Gain\(\)\?'):
    neuroplastic(modulation=modulations.Gain)
