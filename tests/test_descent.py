"""neuroplastic_optimizer refuses a base that already descends."""

import jax
import jax.numpy as jnp
import optax
from optax import contrib
import pytest

from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.settings import inject
from tests.trees import PARAMS

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


def test_trial_leaves_nothing_in_the_programs():
  base = optax.scale_by_adam()
  tried = neuroplastic_optimizer(0.1, base=base)
  plain = optax.chain(neuroplastic(base), optax.scale_by_learning_rate(0.1))
  # All but the name of the function.
  program = lambda f: str(jax.make_jaxpr(f)(PARAMS))
  assert program(tried.init) == program(plain.init)
