"""The optimizer is the direction, a learning rate and decoupled decay."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.running import all_updates
from tests.settings import inject
from tests.trees import PARAMS
from tests.trees import problem


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


REFUSED = r'base must be a direction.*base=optax\.scale_by_adam\(\)'


def _halves(w, b):
  return optax.partition({'w': w, 'b': b}, {'w': 'w', 'b': 'b'})


DESCENDING = {
  'sgd': optax.sgd(0.1),
  'adamw': optax.adamw(1e-3),
  'strong_decay': optax.adamw(1.0, weight_decay=5.0),
  'lion': optax.lion(1e-4),
  'muon': contrib.muon(1e-3),
  'by_hand': optax.chain(optax.scale_by_adam(), optax.scale(-1e-3)),
  'injected': optax.inject_hyperparams(optax.adamw)(1e-3),
  'needs_value': optax.chain(optax.sgd(0.1), contrib.reduce_on_plateau()),
  'by_name': _halves(optax.adam(1e-3), optax.sgd(0.1)),
  'frozen': _halves(optax.adam(1e-3), optax.set_to_zero()),
}
DIRECTIONS = {
  'adam': optax.scale_by_adam(),
  'momentum': optax.trace(0.9),
  'muon': optax.chain(contrib.muon(1.0), optax.scale(-1.0)),
  'zero': optax.set_to_zero(),
  # A warm-up starts at 0, where nothing can be seen.
  'warm_up': optax.adamw(optax.linear_schedule(0.0, 1e-3, 1000)),
  # The noise of this seed is below -1 everywhere.
  'noise': optax.add_noise(25.0, 0.55, jax.random.key(7)),
  # Below 0 because of the params, not of the gradient.
  'growth': optax.add_decayed_weights(-3.0),
  'two_players': _halves(optax.scale_by_adam(), optax.adam(1e-3)),
  'masked': optax.masked(optax.adam(1e-3), {'w': True, 'b': False}),
  # It needs a function to search along.
  'line_search': optax.scale_by_backtracking_linesearch(3),
  'nan': optax.scale(float('nan')),
}


def _init(base, params=PARAMS):
  return neuroplastic_optimizer(1e-3, base=base).init(params)


@pytest.mark.parametrize('base', DESCENDING.values(), ids=DESCENDING)
def test_base_that_descends_is_refused(base):
  with pytest.raises(ValueError, match=REFUSED):
    _init(base)
  neuroplastic(base).init(PARAMS)


@pytest.mark.parametrize('base', DIRECTIONS.values(), ids=DIRECTIONS)
def test_direction_is_accepted(base):
  _init(base)


HOW = {
  'jit': lambda base: jax.jit(lambda p: _init(base, p))(PARAMS),
  'eval_shape': lambda base: jax.eval_shape(lambda p: _init(base, p), PARAMS),
  'shapes': lambda base: _init(base, jax.eval_shape(lambda: PARAMS)),
  'inject_hyperparams': lambda base: inject(1e-3, base=base).init(PARAMS),
  'bfloat16': lambda base: _init(base, optax.tree.cast(PARAMS, 'bfloat16')),
  'complex64': lambda base: _init(base, optax.tree.cast(PARAMS, 'complex64')),
  'masked': lambda base: optax.masked(
    neuroplastic_optimizer(1e-3, base=base), {'w': True, 'b': False}
  ).init(PARAMS),
}


@pytest.mark.parametrize('init', HOW.values(), ids=HOW)
def test_refusal_holds_however_init_is_called(init):
  init(optax.scale_by_adam())
  with pytest.raises(ValueError, match=REFUSED):
    init(optax.adamw(1e-3))


def test_traced_rate_is_accepted():
  count = lambda rate: _init(optax.adamw(rate))[0].count
  assert jnp.all(jax.jit(jax.vmap(count))(jnp.ones(2)) == 0)


def test_refusal_leaves_nothing_in_the_program():
  base = optax.scale_by_adam()
  tried = neuroplastic_optimizer(0.1, base=base)
  plain = optax.chain(neuroplastic(base), optax.scale_by_learning_rate(0.1))
  # All but the name of the function.
  program = lambda f: str(jax.make_jaxpr(f)(PARAMS))
  assert program(tried.init) == program(plain.init)
