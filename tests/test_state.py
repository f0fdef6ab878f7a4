"""What the state holds, and that Optax finds its way in it."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import NeuroplasticState
from tests.problems import problem
from tests.running import all_updates
from tests.running import trained
from tests.settings import every_setting
from tests.trees import is_ours
from tests.trees import random_tree
from tests.trees import random_trees

MOMENTS = ('activity', 'memory_mu', 'memory_nu')


def _bytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_the_state_holds_three_moments_and_a_count():
  params, _ = problem(12, 0)
  state = neuroplastic().init(params)
  assert _bytes(state) == 3 * _bytes(params) + 4
  for name in MOMENTS:
    moment = getattr(state, name)
    assert jax.tree.structure(moment) == jax.tree.structure(params)


def test_the_gradient_only_state_holds_a_count():
  params, gradients = problem(13, 1)
  tx = neuroplastic(gradient_only=True)
  _, state = all_updates(tx, params, gradients)
  assert len(jax.tree.leaves(state)) == 1
  assert [getattr(state, name) for name in MOMENTS] == [None] * 3


@pytest.mark.parametrize('state_dtype', ['bfloat16', jnp.float16])
def test_state_dtype_halves_the_state(state_dtype):
  params, gradients = problem(14, 3)
  full, half = neuroplastic(), neuroplastic(state_dtype=state_dtype)
  assert _bytes(half.init(params)) - 4 == (_bytes(full.init(params)) - 4) / 2
  # It rounds the moments, and hardly touches the updates.
  actual, _ = all_updates(half, params, gradients)
  expected, _ = all_updates(full, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=0.03, atol=1e-3)


def test_the_count_saturates():
  tx = neuroplastic(plasticity_scale=lambda count: jnp.float32(count) * 0.0)
  params = jnp.ones(2)
  most = jnp.iinfo(jnp.int32).max
  state = tx.init(params)._replace(count=jnp.asarray(most, jnp.int32))
  updates, state = jax.jit(tx.update)(params, state)
  assert state.count == most
  chex.assert_tree_all_finite(updates)


def test_schedules_see_the_number_of_updates_before():
  counts = []

  def schedule(count):
    jax.debug.callback(lambda count: counts.append(int(count)), count)
    return 1.0

  params, gradients = problem(15, 3)
  for name in ('plasticity_scale', 'weight_decay'):
    counts.clear()
    all_updates(neuroplastic(**{name: schedule}), params, gradients)
    jax.effects_barrier()
    assert sorted(set(counts)) == [0, 1, 2], name


# Optax's own tools for trees and states.


@every_setting
def test_map_params(settings):
  settings = settings | dict(
    weight_decay=0.01,
    weight_decay_mask={'dense': True, 'scale': False},
    homeostasis=Homeostasis(target_rms_scale={'dense': 2.0, 'scale': 1.0}),
  )
  tx = neuroplastic_optimizer(optax.constant_schedule(0.1), **settings)
  params = random_tree(0)
  _, state = trained(tx, params, random_trees(2))
  marked = optax.tree.map_params(
    tx, lambda x: 'moment', state, transform_non_params=lambda x: 'other'
  )
  (ours,) = (s for s in marked if isinstance(s, NeuroplasticState))
  like_params = jax.tree.map(lambda x: 'moment', params)
  moments = ours.activity, ours.memory_mu, ours.memory_nu
  if settings.get('gradient_only'):
    assert moments == (None, None, None)
  else:
    assert moments == (like_params,) * 3
  assert ours.count == 'other'


WRAPPERS = {
  'none': lambda tx: tx,
  'chain': lambda tx: optax.chain(optax.clip(1.0), tx, optax.scale(-1.0)),
  'named_chain': lambda tx: optax.named_chain(('ours', tx)),
  'masked': lambda tx: optax.masked(tx, lambda params: True),
  'multi_steps': lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
  'apply_if_finite': lambda tx: optax.apply_if_finite(tx, 2),
}


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_fields_of_the_state_are_found_by_name(wrap):
  params = random_tree(0)
  state = wrap(neuroplastic()).init(params)
  zeros = jax.tree.map(jnp.zeros_like, params)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    chex.assert_trees_all_equal(optax.tree.get(state, name), zeros)
  count = optax.tree.get(state, 'count', filtering=is_ours)
  assert (count.shape, count.dtype, count) == ((), jnp.int32, 0)
