"""What a mechanism is given later is refused by name, too.

`tests/test_bad_arguments.py` has the arguments themselves.
"""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests.running import trained
from tests.trees import random_tree
from tests.trees import random_trees

m = mechanisms


def test_what_the_callables_return_is_checked():
  w = {'w': jnp.ones(2)}
  with pytest.raises(ValueError, match='bound must be a number'):
    m.clip_weights(lambda params: -1.0).init(w)
  with pytest.raises(ValueError, match='bound must be a pytree'):
    m.clip_weights({'v': 1.0}).update(w, m.clip_weights(1.0).init(w), w)
  tx = m.scale_by_classp(scaling=lambda count: 1.0)
  with pytest.raises(TypeError, match='scaling must be'):
    tx.update(w, tx.init(w))
  tx = m.flip_signs(mask=lambda params: {'w': 1})
  with pytest.raises(TypeError, match='mask must be Python bools'):
    tx.init(w)


DEFAULTS = {
  m.scale_by_classp: dict(threshold=0.0, power=1.0, eps=1e-5, scaling=True),
  m.flip_signs: dict(fraction=0.1, axis='input'),
  m.scale_by_upgd: dict(
    decay=0.999,
    noise=1e-3,
    scaling='global',
    protect=True,
    bias_correction=True,
  ),
  m.add_consolidation: dict(
    strength=0.01, importance='ewc', anchor_decay=0.999, importance_decay=0.999
  ),
  m.elastic_weight_consolidation: dict(strength=1.0, decay=1.0, forgetting=0.0),
  m.synaptic_intelligence: dict(strength=1.0, damping=0.1),
  m.regenerate: dict(strength=1e-3, norm='l2'),
  m.metaplasticity: dict(strength=1.0),
  m.simultaneous_perturbation: dict(
    epsilon=1e-3, distribution='rademacher', samples=1
  ),
  m.exponentiate: dict(max_exponent=10.0),
  m.shrink_and_perturb: dict(shrink=1e-4, perturb=1e-4, every=1),
  m.fan_in_bounds: dict(scale=1.0),
  m.sleep: dict(period=1000, fraction=0.1, strength=0.3, jitter=0.0),
  m.hare_and_tortoise: dict(decay=0.999, period=1000),
  m.couple_replicas: dict(strength=0.01),
  m.neural_variability: dict(scale=0.01, distribution='normal', refresh=1),
  m.synergy: dict(assignment='blend', rate=1.0, floor=0.05),
}


def test_defaults_stay_what_they_were():
  """Who does not give a number gets the same one in every version."""
  found = {}
  for make in (getattr(m, name) for name in m.__all__):
    if inspect.isfunction(make):
      parameters = inspect.signature(make).parameters.values()
      found[make] = {
        p.name: p.default
        for p in parameters
        if p.default not in (p.empty, None)
      }
      assert found[make].pop('key', 0) == 0
  assert {make: x for make, x in found.items() if x} == DEFAULTS


def test_as_many_mechanisms_as_eight_bits_can_count():
  many = {str(i): optax.identity() for i in range(257)}
  with pytest.raises(ValueError, match=r'1 to 256 .*, got 257[.]'):
    m.synergy(many, floor=0.001)
  del many['0']
  assert m.synergy(many, floor=0.001)


def test_bounds_of_a_count_are_refused():
  """As a function of the user's own is injected, with ours in it."""
  injected = optax.inject_hyperparams(lambda bound: m.clip_weights(bound))
  with pytest.raises(TypeError, match="static_args='bound'"):
    injected(bound=m.fan_in_bounds()).init(random_tree(0))


@pytest.mark.parametrize(
  ('make', 'arguments'),
  [
    (m.shrink_and_perturb, dict(every=2, shrink=0.5, perturb=0.1)),
    (m.sleep, dict(period=3, fraction=0.5)),
    (m.hare_and_tortoise, dict(period=2)),
    (functools.partial(m.reset_moments, optax.trace(0.9)), dict(period=2)),
    (functools.partial(m.neural_variability, optax.sgd(1.0)), dict(refresh=2)),
  ],
)
def test_injected_periods_are_arrays_and_give_the_same(make, arguments):
  params, gradients = random_tree(0), random_trees(4)
  tx = optax.inject_hyperparams(make)(**arguments)
  (name,) = arguments.keys() & {'every', 'period', 'refresh'}
  assert tx.init(params).hyperparams[name] == arguments[name]
  actual, _ = trained(tx, params, gradients, compiled=True)
  expected, _ = trained(make(**arguments), params, gradients, compiled=True)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_an_injected_number_of_samples_names_static_args():
  tx = optax.inject_hyperparams(m.simultaneous_perturbation)(samples=2)
  with pytest.raises(TypeError, match="static_args='samples'"):
    tx.init(random_tree(0))


def test_a_switch_may_be_a_schedule_also_injected():
  w = jnp.array([2.0, -3.0])
  later = lambda count: count > 0
  for tx in (
    m.scale_by_classp(scaling=later),
    optax.inject_hyperparams(m.scale_by_classp)(scaling=later),
  ):
    first, state = jax.jit(tx.update)(w, tx.init(w), w)
    second, _ = jax.jit(tx.update)(w, state, w)
    chex.assert_trees_all_equal(first, w)
    assert (abs(second) < 1).all()


def test_a_missing_loss_is_one_sentence():
  tx, w = m.simultaneous_perturbation(), jnp.ones(2)
  message = r'^simultaneous_perturbation needs the loss: call update'
  with pytest.raises(ValueError, match=message):
    tx.update(w, tx.init(w), w)
  with pytest.raises(TypeError, match='value_fn must return a floating scalar'):
    tx.update(w, tx.init(w), w, value_fn=lambda w: w)


@pytest.mark.parametrize(
  'make',
  [
    m.elastic_weight_consolidation,
    m.synaptic_intelligence,
    lambda: m.reset_moments(optax.trace(0.9)),
  ],
)
@pytest.mark.parametrize('new_task', [1, 'yes', jnp.ones(2, bool), None])
def test_a_boundary_that_is_no_bool(make, new_task):
  tx, w = make(), jnp.ones(2)
  with pytest.raises(TypeError, match='takes new_task as a bool'):
    tx.update(w, tx.init(w), w, new_task=new_task)


def test_a_boundary_at_the_very_first_update_is_ignored():
  for make in (m.elastic_weight_consolidation, m.synaptic_intelligence):
    tx, w = make(), jnp.ones(2)
    told = tx.update(w, tx.init(w), w, new_task=True)
    untold = tx.update(w, tx.init(w), w)
    chex.assert_trees_all_equal(told, untold)


@pytest.mark.parametrize('dtype', ['int32', 'complex64'])
def test_leaves_that_are_not_floating(dtype):
  tx, w = m.keep_signs(), {'w': jnp.ones(2, dtype)}
  with pytest.raises(TypeError, match=r"floating params, got params\['w'\]"):
    tx.init(w)


def test_the_state_does_not_hold_an_array_of_the_users():
  """Which could not be donated."""
  mine, w = jnp.full([], 2.0, 'float32'), jnp.ones(3)
  tx = m.clip_weights(lambda params: mine)
  update = jax.jit(tx.update, donate_argnums=1)
  update(w, tx.init(w), w)
  assert not mine.is_deleted()
