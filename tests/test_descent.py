"""A base that already descends is refused; any other is let through."""

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
BY_RANK = lambda params: jax.tree.map(
  lambda p: 'matrix' if p.ndim > 1 else 'rest', params
)
OF_A_NAME = {'w': 'w', 'b': 'b'}


def _halves(w, b):
  return optax.partition({'w': w, 'b': b}, OF_A_NAME)


DESCENDING = {
  'sgd': optax.sgd(0.1),
  'adam': optax.adam(1e-3),
  'adamw': optax.adamw(1e-3),
  'strong_decay': optax.adamw(1.0, weight_decay=5.0),
  'lion': optax.lion(1e-4),
  'muon': contrib.muon(1e-3),
  'prodigy': contrib.prodigy(),
  'schedule_free': contrib.schedule_free_adamw(1e-3),
  'by_hand': optax.chain(optax.scale_by_adam(), optax.scale(-1e-3)),
  'warm_up': optax.adamw(optax.linear_schedule(0.0, 1e-3, 1000)),
  'injected': optax.inject_hyperparams(optax.adamw)(1e-3),
  'injected_warm_up': optax.inject_hyperparams(optax.sgd)(
    optax.linear_schedule(0.0, 1e-3, 1000)
  ),
  'every_third': optax.chain(optax.apply_every(3), optax.sgd(0.1)),
  'needs_value': optax.chain(optax.sgd(0.1), contrib.reduce_on_plateau()),
  'noisy': optax.noisy_sgd(0.1, key=0),
  'by_rank': optax.partition(
    {'matrix': optax.adam(1e-3), 'rest': optax.sgd(0.1)}, BY_RANK
  ),
  'by_name': _halves(optax.adam(1e-3), optax.sgd(0.1)),
  'frozen': _halves(optax.adam(1e-3), optax.set_to_zero()),
}
DIRECTIONS = {
  'adam': optax.scale_by_adam(),
  'momentum': optax.trace(0.9),
  'lion': optax.scale_by_lion(),
  'muon': optax.chain(contrib.muon(1.0), optax.scale(-1.0)),
  'factored': optax.scale_by_factored_rms(),
  'zero': optax.set_to_zero(),
  'rate_zero': optax.sgd(0.0),
  # The noise of this seed is below -1 everywhere.
  'noise': optax.add_noise(25.0, 0.55, jax.random.key(7)),
  # Below 0 because of the params, not of the gradient.
  'growth': optax.add_decayed_weights(-3.0),
  'by_name': _halves(optax.scale_by_adam(), optax.trace(0.9)),
  # Two players of one loss.
  'two_players': _halves(optax.scale_by_adam(), optax.adam(1e-3)),
  'masked': optax.masked(optax.adam(1e-3), {'w': True, 'b': False}),
  # It cannot be asked: it wants a function to search along.
  'line_search': optax.scale_by_backtracking_linesearch(3),
  'nan': optax.scale(float('nan')),
}


def _init(base, params=PARAMS):
  return neuroplastic_optimizer(1e-3, base=base).init(params)


@pytest.mark.parametrize('base', DESCENDING.values(), ids=DESCENDING)
def test_a_base_that_descends_is_refused(base):
  with pytest.raises(ValueError, match=REFUSED):
    _init(base)
  neuroplastic(base).init(PARAMS)


@pytest.mark.parametrize('base', DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_direction_is_let_through(base):
  _init(base)


def test_what_the_message_says_is_accepted():
  _init(optax.chain(optax.adamw(1e-3), optax.scale(-1.0)))
  neuroplastic_optimizer(
    1e-3,
    base=optax.scale_by_adam(),
    weight_decay=1e-4,
    decoupled_weight_decay=True,
  ).init(PARAMS)


HOW = {
  'jit': lambda base: jax.jit(lambda p: _init(base, p))(PARAMS),
  'eval_shape': lambda base: jax.eval_shape(lambda p: _init(base, p), PARAMS),
  'shapes': lambda base: _init(base, jax.eval_shape(lambda: PARAMS)),
  'vmap': lambda base: jax.vmap(lambda p: _init(base, p))(
    jax.tree.map(lambda p: p[None], PARAMS)
  ),
  'inject_hyperparams': lambda base: inject(1e-3, base=base).init(PARAMS),
  'bfloat16': lambda base: _init(base, optax.tree.cast(PARAMS, 'bfloat16')),
  'complex64': lambda base: _init(base, optax.tree.cast(PARAMS, 'complex64')),
  'masked': lambda base: optax.masked(
    neuroplastic_optimizer(1e-3, base=base), {'w': True, 'b': False}
  ).init(PARAMS),
}


@pytest.mark.parametrize('init', HOW.values(), ids=HOW)
def test_it_is_seen_however_init_is_called(init):
  init(optax.scale_by_adam())
  with pytest.raises(ValueError, match=REFUSED):
    init(optax.adamw(1e-3))


def test_traced_numbers_are_not_asked():
  def count(rate):
    return _init(optax.adamw(rate))[0].count

  assert jax.jit(count)(1e-3) == 0
  assert jnp.all(jax.vmap(count)(jnp.ones(2)) == 0)


def test_asking_leaves_nothing_in_the_programs():
  base = optax.scale_by_adam()
  asked = neuroplastic_optimizer(0.1, base=base)
  plain = optax.chain(neuroplastic(base), optax.scale_by_learning_rate(0.1))
  # All but the name of the function.
  program = lambda f: str(jax.make_jaxpr(f)(PARAMS))
  assert program(asked.init) == program(plain.init)


def test_an_update_does_not_ask():
  calls = 0

  def update(updates, state, params=None):
    nonlocal calls
    calls += 1
    return updates, state

  base = optax.GradientTransformation(lambda params: (), update)
  tx = inject(1e-3, base=base)
  state = tx.init(PARAMS)
  calls = 0
  tx.update(PARAMS, state, PARAMS)
  assert calls == 1


@pytest.mark.parametrize(
  'base',
  [
    optax.scale_by_schedule(lambda n: jnp.where(n == 0, -1.0, 1.0)),
    optax.scale_by_schedule(lambda n: jnp.where(n % 2 == 0, -1.0, 1.0)),
  ],
)
def test_what_only_begins_negative_is_let_through(base):
  neuroplastic_optimizer(0.1, base=base).init(jnp.ones(3))
