"""JAX's transformations of a training change nothing of it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import neuroplastic_optimizer
from tests.arrays import device_mesh
from tests.running import trained
from tests.settings import every_setting
from tests.trees import is_ours
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import stack
from tests.trees import types_of


class VariantsTest(chex.TestCase):
  """Compiled or not, on the device or from the host: one result."""

  @chex.all_variants(with_pmap=False)
  def test_init_and_update(self):
    tx = neuroplastic_optimizer(0.1, weight_decay=0.01)
    params, (gradient,) = random_tree(0), random_trees(1)
    state = self.variant(tx.init)(params)
    chex.assert_trees_all_equal(state, tx.init(params))
    actual = self.variant(tx.update)(gradient, state, params)
    expected = tx.update(gradient, state, params)
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-8)


@every_setting
def test_vmap_over_members_equals_a_loop(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  members, gradients = random_trees(3), random_trees(4)

  def train(params):
    state = tx.init(params)
    for gradient in gradients:
      updates, state = tx.update(gradient, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  together = jax.jit(jax.vmap(train))(stack(members))
  alone = [jax.jit(train)(params) for params in members]
  # Adam's bias correction rounds according to how it was compiled.
  chex.assert_trees_all_close(together, stack(alone), rtol=2e-5, atol=1e-6)


@every_setting
def test_scan_equals_a_loop(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = random_tree(0), random_trees(5)

  def step(carry, gradient):
    params, state = carry
    updates, state = tx.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), None

  scan = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs)[0])
  actual = scan((params, tx.init(params)), stack(gradients))
  expected = trained(tx, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=2e-5, atol=1e-6)


@every_setting
def test_update_and_no_update_are_branches_of_one_type(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradient = random_tree(0), random_tree(1)
  state = tx.init(params)

  @jax.jit
  def maybe(do, gradient, state):
    return jax.lax.cond(
      do,
      lambda: tx.update(gradient, state, params),
      lambda: (jax.tree.map(jnp.zeros_like, gradient), state),
    )

  updates, after = maybe(False, gradient, state)
  chex.assert_trees_all_equal(after, state)
  assert not any(jnp.any(u) for u in jax.tree.leaves(updates))
  updates, after = maybe(True, gradient, state)
  assert optax.tree.get(after, 'count', filtering=is_ours) == 1
  assert all(jnp.any(u) for u in jax.tree.leaves(updates))


# Donated, a leaf's buffer must find a use; a warning that it has none is an
# error here.
@every_setting
def test_donated_params_and_state(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = random_tree(0), random_trees(3)
  expected = trained(tx, params, gradients, compiled=True)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  state = jax.jit(tx.init)(params)
  for gradient in gradients:
    given = params, state
    params, state = step(params, state, gradient)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
  chex.assert_trees_all_equal((params, state), expected)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
@every_setting
def test_state_of_abstract_params(settings, dtype):
  tx = neuroplastic_optimizer(0.1, **settings)
  params = random_tree(0, dtype)
  state = tx.init(params)
  abstract = jax.eval_shape(lambda: params)
  assert types_of(jax.eval_shape(tx.init, abstract)) == types_of(state)
  # Given shapes for params, Optax makes a state all the same.
  chex.assert_trees_all_equal(tx.init(abstract), state)
  shapes = jax.eval_shape(tx.update, abstract, state, abstract)
  assert types_of(shapes) == types_of(tx.update(params, state, params))


@every_setting
def test_one_compilation_for_any_number_of_updates(settings, compiled):
  tx = neuroplastic_optimizer(
    optax.linear_schedule(0.1, 0.0, 10),
    plasticity_scale=optax.linear_schedule(0.0, 2.0, 5),
    **settings,
  )

  @jax.jit
  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  params = random_tree(0)
  state = tx.init(params)
  for gradient in random_trees(12):
    params, state = step(params, state, gradient)
  assert compiled.count('jit(step)') == 1


def test_sharded_tensors_are_still_whole_tensors():
  mesh = device_mesh()
  shard = jax.sharding.NamedSharding(mesh, jax.P('x'))
  rng = np.random.default_rng(0)
  # Magnitudes that differ from shard to shard, so that statistics do.
  array = lambda: (
    jnp.asarray(rng.normal(size=(8, 3)), 'float32')
    * (10.0 ** jnp.linspace(-2, 1, 8)[:, None])
  )
  tx = neuroplastic_optimizer(0.1, weight_decay=0.01)
  params, gradients = array(), [array() for _ in range(3)]
  expected = trained(tx, params, gradients)
  actual = trained(
    tx,
    jax.device_put(params, shard),
    jax.device_put(gradients, shard),
    compiled=True,
  )
  chex.assert_trees_all_close(actual, expected, rtol=1e-5)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    moment = optax.tree.get(actual[1], name)
    assert moment.sharding.is_equivalent_to(shard, moment.ndim)
