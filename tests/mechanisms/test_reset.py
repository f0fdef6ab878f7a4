"""`reset_state` and `reset_moments`, through wrappers of Optax."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import neuroplastic
from tests.running import trained
from tests.trees import is_matrix
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of

HOLDERS = {
  'plain': lambda: optax.scale_by_adam(),
  'chain': lambda: optax.chain(
    optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.1)
  ),
  'masked': lambda: optax.masked(optax.adam(0.1), is_matrix),
  'prefix': lambda: optax.masked(
    optax.adam(0.1), {'dense': True, 'scale': False}
  ),
  'partition': lambda: optax.partition(
    {'a': optax.adam(0.1), 'b': optax.sgd(0.1, 0.9)},
    {'dense': 'a', 'scale': 'b'},
  ),
  'partition_by_function': lambda: optax.partition(
    {True: optax.adam(0.1), False: optax.sgd(0.1, 0.9)}, is_matrix
  ),
  'inject': lambda: optax.inject_hyperparams(optax.adam)(0.1),
  'neuroplastic': lambda: neuroplastic(optax.scale_by_adam()),
  'nested': lambda: optax.inject_hyperparams(
    lambda learning_rate: optax.chain(
      neuroplastic(optax.masked(optax.trace(0.9), is_matrix)),
      optax.scale_by_learning_rate(learning_rate),
    )
  )(learning_rate=0.1),
  'multi_steps': lambda: optax.MultiSteps(
    optax.adam(0.1), 2
  ).gradient_transformation(),
  'ours': lambda: optax.chain(
    mechanisms.add_consolidation(), mechanisms.scale_by_upgd()
  ),
}
every_holder = pytest.mark.parametrize('make', HOLDERS.values(), ids=HOLDERS)


@functools.cache
def _state(make):
  tx = make()
  params = random_tree(0)
  return tx, *trained(tx, params, random_trees(3), compiled=True)


@every_holder
def test_a_reset_state_is_as_init_makes_it(make):
  tx, params, state = _state(make)
  fresh = tx.init(params)
  reset = mechanisms.reset_state(tx, state, params)
  assert types_of(reset) == types_of(state)
  # Everything is as new, but for counts that stand with no copy.
  old, new, start = (
    dict(
      (jax.tree_util.keystr(path), np.asarray(x))
      for path, x in jax.tree.leaves_with_path(tree)
    )
    for tree in (state, reset, fresh)
  )
  for path, value in new.items():
    kept = (old[path] == value).all() and not value.ndim
    assert kept or (start[path] == value).all(), path
  for name in ('mu', 'nu', 'trace', 'activity', 'utility', 'importance'):
    for _, moment in optax.tree_utils.tree_get_all_with_path(reset, name):
      for leaf in jax.tree.leaves(moment):
        np.testing.assert_array_equal(leaf, 0)


@every_holder
def test_a_mask_names_leaves_and_elements(make):
  tx, params, state = _state(make)
  mask = {
    'dense': {
      'kernel': jnp.arange(12).reshape(3, 4) % 2 == 0, 'bias': False,
    },
    'scale': True,
  }  # fmt: skip
  for how in (mechanisms.reset_state, jax.jit(
    mechanisms.reset_state, static_argnums=0
  )):  # fmt: skip
    fresh = tx.init(params)
    reset = how(tx, state, params, mask)
    assert types_of(reset) == types_of(state)

    def check(got, old, new, path):
      if path.endswith("['kernel']"):
        expected = np.where(mask['dense']['kernel'], new, old)
      else:
        expected = new if path.endswith("['scale']") else old
      if not path.endswith(("['kernel']", "['bias']", "['scale']")):
        expected = old  # Counts and numbers.
      np.testing.assert_array_equal(got, expected, path)

    rows = zip(
      jax.tree.leaves_with_path(reset),
      jax.tree.leaves(state),
      jax.tree.leaves(fresh),
      strict=True,
    )
    for (path, got), old, new in rows:
      check(got, old, new, jax.tree_util.keystr(path))


def test_a_mask_may_be_a_prefix_or_a_callable():
  tx, params, state = _state(HOLDERS['plain'])
  by_prefix = mechanisms.reset_state(
    tx, state, params, {'dense': True, 'scale': False}
  )
  assert not by_prefix.mu['dense']['kernel'].any()
  assert by_prefix.mu['scale'] == state.mu['scale']
  by_function = mechanisms.reset_state(tx, state, params, is_matrix)
  assert not by_function.mu['dense']['kernel'].any()
  assert by_function.mu['dense']['bias'].all()


def test_factored_state_is_reset_leaf_by_leaf():
  tx = optax.scale_by_factored_rms(min_dim_size_to_factor=2)
  params = {'a': jnp.ones((4, 3)), 'b': jnp.ones((4, 3))}
  state = tx.init(params)
  _, state = tx.update(params, state, params)
  mask = {'a': jnp.zeros((4, 3), bool).at[0, 0].set(True), 'b': False}
  reset = mechanisms.reset_state(tx, state, params, mask)
  assert not reset.v_row['a'].any()
  assert not reset.v_col['a'].any()
  np.testing.assert_array_equal(reset.v_row['b'], state.v_row['b'])


def test_counts_beside_copies_are_reset_and_others_go_on():
  tx = optax.chain(
    optax.scale_by_adam(), optax.scale_by_schedule(lambda count: 0.1)
  )
  params = random_tree(0)
  _, state = trained(tx, params, random_trees(3))
  reset = mechanisms.reset_state(tx, state, params)
  assert reset[0].count == 0
  assert reset[1].count == 3
  masked = mechanisms.reset_state(
    tx, state, params, jax.tree.map(lambda _: True, params)
  )
  assert masked[0].count == 3


def test_the_averaging_weight_of_schedule_free_is_kept():
  tx = contrib.schedule_free_adamw(0.1)
  params = random_tree(0)
  _, state = trained(tx, params, random_trees(3))
  reset = mechanisms.reset_state(tx, state, params)
  assert reset.weight_sum == state.weight_sum
  chex.assert_trees_all_equal(reset.z, params)


@pytest.mark.parametrize(
  ('mask', 'error', 'message'),
  [
    ({'dense': 1, 'scale': 0}, TypeError, 'mask must be bools or arrays of'),
    ({'dense': True}, ValueError, 'mask must be a pytree with the structure'),
    (
      {'dense': jnp.zeros(3, bool), 'scale': False},
      ValueError,
      'mask must have the shape of the params',
    ),
  ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, error, message):
  tx, params, state = _state(HOLDERS['plain'])
  with pytest.raises(error, match=message):
    mechanisms.reset_state(tx, state, params, mask)


# reset_moments.


def test_moments_are_reset_after_every_period():
  inner = optax.adam(0.1)
  tx = mechanisms.reset_moments(inner, period=3)
  params, gradients = random_tree(0), random_trees(7)
  state, alone = tx.init(params), inner.init(params)
  for t, gradient in enumerate(gradients):
    if t % 3 == 0:
      alone = inner.init(params)
      chex.assert_trees_all_equal(state.inner, alone)
    updates, state = tx.update(gradient, state, params)
    expected, alone = inner.update(gradient, alone, params)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


@every_holder
def test_moments_are_reset_through_all_that_holds_state(make):
  inner = make()
  tx = mechanisms.reset_moments(inner)
  params = random_tree(0)
  _, state = trained(tx, params, random_trees(3), compiled=True)
  gradient = random_tree(9)
  before = mechanisms.reset_state(inner, state.inner, params)
  expected = inner.update(gradient, before, params)
  for new_task in (True, np.True_, jnp.array(True)):
    updates, after = tx.update(gradient, state, params, new_task=new_task)
    chex.assert_trees_all_close((updates, after.inner), expected, rtol=1e-5)


def test_extra_arguments_reach_the_inner_transformation():
  told = []

  def update(updates, state, params=None, *, new_task, **extra_args):
    told.append((new_task, extra_args))
    return updates, state

  inner = optax.GradientTransformationExtraArgs(optax.identity().init, update)
  tx = mechanisms.reset_moments(inner)
  params = random_tree(0)
  tx.update(params, tx.init(params), params, new_task=True, value=1.0)
  assert told == [(True, {'value': 1.0})]
