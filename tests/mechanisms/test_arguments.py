"""Values that arrive after construction are refused by name, too.

`tests/test_bad_arguments.py` has the arguments themselves.
"""

import inspect

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests.trees import is_matrix
from tests.trees import random_tree

m = mechanisms


DEFAULTS = {
  m.scale_by_classp: dict(threshold=0.0, power=1.0, eps=1e-5, scaling=True),
  m.flip_signs: dict(fraction=0.1, axis='input'),
  m.scale_by_upgd: dict(
    decay=0.999,
    noise=1e-3,
    scaling='global',
    protect=True,
    bias_correction=True,
    scale=1.0,
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
  m.shrink_and_perturb: dict(
    shrink=1e-4, perturb=1e-4, every=1, noise='normal'
  ),
  m.fan_in_bounds: dict(scale=1.0),
  m.sleep: dict(period=1000, fraction=0.1, strength=0.3, jitter=0.0),
  m.hare_and_tortoise: dict(decay=0.999, period=1000),
  m.couple_replicas: dict(strength=0.01),
  m.neural_variability: dict(scale=0.01, distribution='normal', refresh=1),
  m.synergy: dict(assignment='blend', rate=1.0, floor=0.05),
  m.regenerate_inactive: dict(
    rate=0.01,
    threshold=0.1,
    decay=0.95,
    utility='activity',
    to='initial',
    every=1,
  ),
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


def test_synergy_of_more_than_256_mechanisms_is_refused():
  many = {str(i): optax.identity() for i in range(257)}
  with pytest.raises(ValueError, match=r'1 to 256 .*, got 257[.]'):
    m.synergy(many, floor=0.001)
  del many['0']
  assert m.synergy(many, floor=0.001)


def test_functions_that_are_injected_as_schedules_are_refused_by_name():
  params = random_tree(0)
  for make in (m.clip_weights, lambda bound: m.clip_weights(bound)):
    tx = optax.inject_hyperparams(make)(bound=m.fan_in_bounds())
    with pytest.raises(TypeError, match="static_args='bound'"):
      tx.init(params)
  for make in (m.exponentiate, m.keep_signs, m.sleep):
    tx = optax.inject_hyperparams(make)(mask=is_matrix)
    with pytest.raises(TypeError, match="static_args='mask'"):
      tx.init(params)


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


def test_a_schedule_of_scaling_must_return_a_flag():
  tx, w = m.scale_by_classp(scaling=lambda count: 1.0), jnp.ones(2)
  with pytest.raises(TypeError, match='scaling must be'):
    tx.update(w, tx.init(w))


def test_a_missing_loss_is_one_sentence():
  tx, w = m.simultaneous_perturbation(), jnp.ones(2)
  message = r'^simultaneous_perturbation needs the loss: call update'
  with pytest.raises(ValueError, match=message):
    tx.update(w, tx.init(w), w)
  with pytest.raises(TypeError, match='value_fn must return a floating scalar'):
    tx.update(w, tx.init(w), w, value_fn=lambda w: w)


def test_a_boundary_that_is_no_bool_is_refused():
  w = jnp.ones(2)
  for tx in (
    m.elastic_weight_consolidation(),
    m.synaptic_intelligence(),
    m.reset_moments(optax.trace(0.9)),
  ):
    for new_task in (1, 'yes', jnp.ones(2, bool), None):
      with pytest.raises(TypeError, match='takes new_task as a bool'):
        tx.update(w, tx.init(w), w, new_task=new_task)


@pytest.mark.parametrize('dtype', ['int32', 'complex64'])
def test_leaves_that_are_not_floating_are_refused(dtype):
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
