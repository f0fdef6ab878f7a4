"""The direction: identities, symmetries, base, weight decay and state."""

import functools

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import NeuroplasticState
from tests.running import all_updates
from tests.running import trained
from tests.settings import every_setting
from tests.settings import NEUTRAL
from tests.trees import array
from tests.trees import is_ours
from tests.trees import problem
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import seeds

# Identities, bit for bit.


DTYPES = ('float32', 'bfloat16', 'complex64')
BASES = {
  'none': None,
  'adam': optax.scale_by_adam(),
  'chain': optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)),
}


@pytest.mark.parametrize('compiled', [False, True], ids=['eager', 'jit'])
@pytest.mark.parametrize('name', BASES)
def test_neutral_alpha_is_the_base_bit_for_bit(name, compiled):
  base = BASES[name]
  # Another program may round what the base does in another dtype.
  only = not compiled or name == 'chain'
  for dtype in ['float32'] if only else DTYPES:
    params, gradients = problem(0, 3, dtype)
    actual, state = all_updates(
      neuroplastic(base, **NEUTRAL), params, gradients, compiled
    )
    expected, base_state = all_updates(
      base or optax.identity(), params, gradients, compiled
    )
    chex.assert_trees_all_equal(actual, expected)
    chex.assert_trees_all_equal(state.base, base_state)


GRADIENT_ONLY = {
  'published': {},
  'per_tensor': dict(parameterwise=False, min_alpha=0.5),
  'over_a_base': dict(
    base=optax.trace(0.9), homeostasis=Homeostasis(0.3), weight_decay=0.1
  ),
}


@pytest.mark.parametrize('compiled', [False, True], ids=['eager', 'jit'])
@pytest.mark.parametrize('name', GRADIENT_ONLY)
def test_gradient_only_is_plasticity_scale_zero(name, compiled):
  for dtype in DTYPES if compiled and name == 'published' else ['float32']:
    params, gradients = problem(1, 3, dtype)
    actual, expected = (
      all_updates(
        neuroplastic(**GRADIENT_ONLY[name], **ablation),
        params,
        gradients,
        compiled,
      )[0]
      for ablation in (dict(gradient_only=True), dict(plasticity_scale=0.0))
    )
    chex.assert_trees_all_equal(actual, expected)


# Symmetries.


DECAYING = neuroplastic(weight_decay=0.1)


@hypothesis.given(seed=seeds)
def test_opposite_gradients_give_opposite_updates(seed):
  trees = [problem(seed, 3, dtype) for dtype in DTYPES]
  params, gradients = zip(*trees, strict=True)
  gradients = [*zip(*gradients, strict=True)]
  negate = functools.partial(jax.tree.map, jnp.negative)
  actual, _ = all_updates(
    DECAYING, negate(params), list(map(negate, gradients)), True
  )
  expected, _ = all_updates(DECAYING, params, gradients, True)
  chex.assert_trees_all_equal(actual, list(map(negate, expected)))


@hypothesis.given(seed=seeds)
def test_shape_and_order_of_elements_do_not_matter(seed):
  rng = np.random.default_rng(seed)
  params, *gradients = (array(rng, (24,)) for _ in range(4))
  order = rng.permutation(24)
  change = lambda x: x[order].reshape(2, 3, 4)
  expected, _ = all_updates(DECAYING, params, gradients, True)
  actual, _ = all_updates(
    DECAYING, change(params), list(map(change, gradients)), True
  )
  expected = list(map(change, expected))
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-7)


# The base.


def test_the_base_gets_params_and_extra_args():
  def update(updates, state, params, *, factor, **_):
    return jax.tree.map(lambda u, p: factor * p, updates, params), state

  base = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
  params, (gradient,) = problem(11, 1)
  for tx, sign in (
    (neuroplastic(base, **NEUTRAL), 1),
    (neuroplastic_optimizer(1.0, base=base, **NEUTRAL), -1),
  ):
    updates, _ = tx.update(gradient, tx.init(params), params, factor=3.0)
    expected = jax.tree.map(lambda p, sign=sign: sign * 3.0 * p, params)
    chex.assert_trees_all_equal(updates, expected)


# Weight decay.


# The state.

MOMENTS = ('activity', 'memory_mu', 'memory_nu')


def test_state_holds_three_moments_and_a_count_or_the_count_alone():
  params, gradients = problem(12, 1)
  size = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
  state = neuroplastic().init(params)
  assert size(state) == 3 * size(params) + 4
  for name in MOMENTS:
    moment = getattr(state, name)
    assert jax.tree.structure(moment) == jax.tree.structure(params)
  _, state = all_updates(neuroplastic(gradient_only=True), params, gradients)
  assert len(jax.tree.leaves(state)) == 1
  assert [getattr(state, name) for name in MOMENTS] == [None] * 3


def test_the_count_saturates():
  tx = neuroplastic(plasticity_scale=lambda count: jnp.float32(count) * 0.0)
  params = jnp.ones(2)
  most = jnp.iinfo(jnp.int32).max
  state = tx.init(params)._replace(count=jnp.asarray(most, jnp.int32))
  updates, state = jax.jit(tx.update)(params, state)
  assert state.count == most
  chex.assert_tree_all_finite(updates)


def test_schedules_get_the_number_of_updates_before():
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
def test_map_params_finds_the_moments(settings):
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
  for name in MOMENTS:
    chex.assert_trees_all_equal(optax.tree.get(state, name), zeros)
  count = optax.tree.get(state, 'count', filtering=is_ours)
  assert (count.shape, count.dtype, count) == ((), jnp.int32, 0)
