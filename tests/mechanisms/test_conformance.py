"""Every mechanism is a good citizen of JAX and Optax.

A mechanism takes part by an entry in `registry.CASES`. All are compiled side by
side, as one program, since compiling is what takes time here.
"""

import functools

import chex
from flax import nnx
import flax.linen as nn
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests import promotion
from tests.arrays import device_mesh
from tests.mechanisms.registry import beside
from tests.mechanisms.registry import CASES
from tests.mechanisms.registry import STATIC
from tests.mechanisms.registry import with_boundaries
from tests.mechanisms.registry import WRAPPERS
from tests.running import restored
from tests.running import trained
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import stack
from tests.trees import types_of

# Steps of a size that trains, and from which signs and bounds are seen.
RATE = 0.3
close = functools.partial(chex.assert_trees_all_close, rtol=2e-5, atol=2e-6)


def _tree(seed, dtype='float32'):
  """A random tree with every kind of leaf."""
  half = random_tree(seed + 100)['dense']['kernel'].astype('bfloat16')
  odd = {
    'empty': jnp.zeros((3, 0), dtype),
    'half': half,
    'masked': optax.MaskedNode(),
    'none': None,
    'one': jnp.ones((1, 1), dtype),
  }
  return random_tree(seed, dtype) | odd


def _by_name(tree):
  return dict.fromkeys(CASES, tree)


def _copied(tree):
  return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)


class _Compiled:
  """All mechanisms, with schedules for their numbers, compiled together."""

  def __init__(self):
    txs = {}
    for name, case in CASES.items():
      # The number at the first two updates; then another.
      schedules = {
        key: lambda count, x=x: jnp.where(count < 2, x, 0.9)
        for key, x in case.numbers.items()
        if isinstance(x, float) and 'decay' not in key and key != 'bound'
      }
      tx = case.tx(**{**case.numbers, **schedules})
      txs[name] = optax.chain(optax.scale(-RATE), tx)
    self.tx = beside(txs)
    self.init = jax.jit(self.tx.init)
    self.traces = 0
    self.step = jax.jit(self._step, donate_argnums=(0, 1))

  def _step(self, params, state, gradient):
    self.traces += 1
    updates, state = self.tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, updates

  def train(self, params, gradients):
    """The params, the state and the updates after all gradients."""
    params = _copied(_by_name(params))
    params, state = _copied((params, self.init(params)))
    for gradient in gradients:
      params, state, updates = self.step(params, state, _by_name(gradient))
    return params, state, updates


@functools.cache
def compiled():
  return _Compiled()


def test_every_mechanism_is_registered():
  made = {case.make for case in CASES.values()}
  functions = {name for name in mechanisms.__all__ if name[0].islower()}
  others = {
    'fan_in_bounds', 'eval_params', 'inactive_fraction', 'reset_state',
  }  # fmt: skip
  wrapped = {
    'neural_variability', 'synergy', 'reset_moments', 'couple_replicas',
    'regenerate_inactive',
  }  # fmt: skip
  expected = functions - others - wrapped
  assert {getattr(mechanisms, name) for name in expected} <= made


# JAX.


def _pointers(tree):
  return [
    leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree) if leaf.size
  ]


@pytest.mark.slow
def test_no_buffer_is_shared_by_state_and_params():
  """So that both can be donated."""
  ours = compiled()
  params, gradient = _by_name(_tree(0)), _by_name(_tree(1))
  params, gradient = _copied((params, gradient))
  state = ours.init(params)
  for _ in range(3):
    pointers = _pointers((params, gradient, state))
    assert len(set(pointers)) == len(pointers)
    params, state, _ = ours.step(params, state, gradient)


@pytest.mark.parametrize(
  'name',
  ['consolidation', 'elastic', 'intelligence', 'tortoise', 'variability'],
)
def test_no_buffer_is_shared_operation_by_operation(name):
  tx = CASES[name].tx()
  params, gradient = random_tree(0), random_tree(1)
  _, state = tx.update(gradient, tx.init(params), params)
  pointers = _pointers((params, gradient, state))
  assert len(set(pointers)) == len(pointers)


def test_one_compilation_keeps_types_and_finite_numbers():
  ours = compiled()
  params, state, updates = ours.train(_tree(0), map(_tree, range(1, 4)))
  assert ours.traces == 1
  chex.assert_tree_all_finite((params, state))
  for name in CASES:
    assert types_of(updates[name]) == types_of(_tree(0)), name
    assert updates[name]['none'] is None


@pytest.mark.slow
def test_injected_numbers_in_scanned_lanes_equal_schedules():
  """With `inject_hyperparams`, `vmap` over params and numbers, and `scan`."""
  txs = {}
  for name, case in CASES.items():
    tx = case.tx()
    if case.numbers:
      make = functools.partial(case.make, **case.settings)
      tx = optax.inject_hyperparams(
        make, static_args=STATIC.get(case.make, ())
      )(**case.numbers)
      assert tx.init(random_tree(0)).hyperparams.keys() >= case.numbers.keys()
      # A case finds the count of updates where it is.
      tx = case.wrap(optax.GradientTransformationExtraArgs(tx.init, tx.update))
    txs[name] = optax.chain(optax.scale(-RATE), tx)
  tx = beside(txs)
  members, gradients = [_tree(0), _tree(7)], [_tree(1), _tree(2)]

  def step(carry, gradient):
    params, state = carry
    updates, state = tx.update(_by_name(gradient), state, params)
    return (optax.apply_updates(params, updates), state), None

  def lane(params, state, gradients):
    return jax.lax.scan(step, (params, state), gradients)[0][0]

  params = [_by_name(member) for member in members]
  states = [jax.jit(tx.init)(each) for each in params]
  lanes = jax.jit(jax.vmap(lane, (0, 0, None)))(
    stack(params), stack(states), stack(gradients)
  )
  for i, member in enumerate(members):
    expected, *_ = compiled().train(member, gradients)
    for name in CASES:
      actual = jax.tree.map(lambda x, i=i: x[i], lanes[name])
      close(actual, expected[name], custom_message=name)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_types_stay_under_strict_promotion(dtype):
  with jax.enable_x64(dtype == 'float64'):
    params = jax.eval_shape(lambda: random_tree(0, dtype))
    for name, case in CASES.items():
      tx, seen = case.tx(), []

      def check(tx=tx, seen=seen):
        state = jax.eval_shape(tx.init, params)
        seen[:] = state, jax.eval_shape(tx.update, params, state, params)

      promotion.strictly(check)
      state, after = seen
      types = jax.tree.leaves(types_of(state))
      assert not any(t.weak_type for t in types), name
      if case.make not in WRAPPERS:
        floating = [t for t in types if jnp.issubdtype(t.dtype, jnp.floating)]
        assert all(jnp.finfo(t.dtype).bits >= 32 for t in floating), name
      assert types_of(after) == types_of((params, state)), name


# Trees.


@pytest.mark.parametrize('tree', [{}, {'a': None, 'b': ()}])
def test_empty_trees_stay(tree):
  for name, case in CASES.items():
    tx = case.tx()
    state = jax.eval_shape(tx.init, tree)
    updates, after = jax.eval_shape(tx.update, tree, state, tree)
    assert updates == tree, name
    chex.assert_trees_all_equal_structs(state, after)


def test_a_missing_gradient_moves_nothing():
  params = random_tree(0)
  part = params | {'dense': {'kernel': None, 'bias': None}}
  txs = {
    name: case.tx() for name, case in CASES.items() if case.make not in WRAPPERS
  }
  both = {'a': optax.identity(), 'b': optax.scale(-1.0)}
  txs['synergy'] = mechanisms.synergy(both, 'adaptive')
  for name, tx in txs.items():
    state = jax.eval_shape(tx.init, params)
    updates, after = jax.eval_shape(tx.update, part, state, params)
    assert updates['dense'] == {'kernel': None, 'bias': None}, name
    chex.assert_trees_all_equal_structs(after, state)


def test_missing_params_are_one_sentence():
  params = random_tree(0)
  for case in CASES.values():
    if case.wrap.__name__ != 'with_replicas' and case.needs_params:
      tx = case.tx()
      state = jax.eval_shape(tx.init, params)
      message = r'^\w+ needs the params: call update'
      with pytest.raises(ValueError, match=message):
        jax.eval_shape(tx.update, params, state)


# Numbers.


def _filled(magnitude):
  """Leaves of that magnitude, with signs that alternate."""

  def leaf(x):
    signs = np.where(np.arange(x.size) % 2, -1.0, 0.7).reshape(x.shape)
    # In NumPy, what is too small for bfloat16 vanishes without a word.
    return jnp.asarray(signs * magnitude, 'float32').astype(x.dtype)

  return jax.tree.map(leaf, _tree(0))


def test_no_finite_number_makes_nan_or_infinity():
  for of_params in (0.0, 1e-38, 1e-30, 1e30, 1e38):
    for of_gradient in (0.0, 1e-38, 1e-30, 1e30, 1e38):
      gradients = [_filled(of_gradient)] * 3
      _, state, updates = compiled().train(_filled(of_params), gradients)
      for name, case in CASES.items():
        if case.make not in WRAPPERS:
          held = updates[name], state[name]
          assert _finite(held), (name, of_params, of_gradient)


def _finite(tree):
  return all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


def test_bad_gradients_show():
  """So that `apply_if_finite` sees them, whatever the mechanism holds back."""
  bad = jax.tree.map(lambda g: g * jnp.nan, _tree(1))
  *_, updates = compiled().train(_tree(0), [bad])
  for name, case in CASES.items():
    # These ignore them, sleep, or write -w in their place.
    if case.make not in (
      mechanisms.simultaneous_perturbation,
      mechanisms.sleep,
      mechanisms.keep_signs,
    ):
      leaves = [x for x in jax.tree.leaves(updates[name]) if x.size]
      assert not any(np.isfinite(x).all() for x in leaves), name


def test_counts_that_are_full_stay_full():
  most = np.iinfo(np.int32).max
  is_count = lambda x: x.dtype == jnp.int32 and x.ndim == 0
  ours, params = compiled(), _copied(_by_name(_tree(0)))
  state = _copied(ours.init(params))
  state = jax.tree.map(
    lambda x: jnp.full_like(x, most - 1) if is_count(x) else x, state
  )
  for gradient in map(_tree, range(1, 4)):
    params, state, _ = ours.step(params, state, _by_name(gradient))
  for name in CASES:
    assert _finite(params[name]), name
    counts = [x for x in jax.tree.leaves(state[name]) if is_count(x)]
    # One that is set back is small; none is below 0.
    assert all(x == most or 0 <= x < 4 for x in counts), name


def test_neutral_settings_are_the_identity():
  cases = {k: case for k, case in CASES.items() if case.neutral is not None}
  tx = beside({name: case.tx(**case.neutral) for name, case in cases.items()})
  update = jax.jit(tx.update)
  params = dict.fromkeys(cases, _tree(0))
  state = jax.jit(tx.init)(params)
  for gradient in map(_tree, range(1, 4)):
    # Of a zero, the sign too.
    gradient = jax.tree.map(
      lambda g: jnp.where(g > 1, jnp.asarray(-0.0, g.dtype), g), gradient
    )
    updates, state = update(dict.fromkeys(cases, gradient), state, params)
    for name, case in cases.items():
      chex.assert_trees_all_equal(updates[name], gradient)
      # CLASSP's updates are 0 where g² is not above its threshold.
      if case.make is not mechanisms.scale_by_classp:
        signs = (
          jax.tree.map(jnp.signbit, x) for x in (updates[name], gradient)
        )
        chex.assert_trees_all_equal(*signs)
    params = optax.apply_updates(params, updates)


# Optax.


def test_copies_of_the_params_are_what_optax_takes_for_them():
  params = random_tree(0)
  for name, case in CASES.items():
    tx, others = case.tx(), []
    state = jax.eval_shape(tx.init, params)
    shapes = jax.tree.map(lambda x: [x.shape], params)

    def check(leaf, shape, name=name):
      assert [leaf.shape] == shape, name
      return leaf

    optax.tree.map_params(
      tx,
      check,
      state,
      shapes,
      transform_non_params=others.append,
      is_leaf=lambda x: isinstance(x, list),
    )
    for leaf in jax.tree.leaves(others):
      assert leaf.shape != (3, 4), name


def _chain():
  """A mechanism of each kind of state, behind one another."""
  return optax.chain(
    with_boundaries(mechanisms.elastic_weight_consolidation()),
    mechanisms.scale_by_upgd(noise=0.1),
    mechanisms.flip_signs(0.2),
    optax.scale(-RATE),
    mechanisms.sleep(3, 0.3, 0.5),
    mechanisms.clip_weights(mechanisms.fan_in_bounds(5.0)),
    mechanisms.normalize_and_project(),
    mechanisms.hare_and_tortoise(0.9, 2),
  )


def test_masked_and_partition():
  tx = _chain()
  params, gradients = random_tree(0), random_trees(3)
  mask = {'dense': True, 'scale': False}
  actual, _ = trained(optax.masked(tx, mask), params, gradients, compiled=True)
  dense = lambda tree: {'dense': tree['dense']}
  alone, _ = trained(tx, dense(params), map(dense, gradients), compiled=True)
  close(actual['dense'], alone['dense'])
  labels = {'dense': 'ours', 'scale': 'other'}
  parts = {'ours': tx, 'other': optax.sgd(0.1)}
  tx = optax.partition(parts, labels)
  actual, _ = trained(tx, params, gradients, compiled=True)
  close(actual['dense'], alone['dense'])


def test_multi_steps_and_apply_if_finite():
  """Gradients are accumulated; a bad step leaves no trace."""
  tx = _chain()
  params, gradients = random_tree(0), random_trees(3)
  expected = trained(tx, params, gradients, compiled=True)
  bad = gradients[0] | {'scale': jnp.float32(jnp.nan)}
  doubled = [g for g in gradients for _ in range(2)]
  doubled.insert(3, bad)
  wrapped = optax.apply_if_finite(optax.MultiSteps(tx, 2), 3)
  actual, state = trained(wrapped, params, doubled, compiled=True)
  assert state.total_notfinite == 1
  close((actual, state.inner_state.inner_opt_state), expected)


# Flax and Orbax.


class _Model(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(3, 4, rngs=rngs)
    self.out = nnx.Linear(4, 2, rngs=rngs)

  def __call__(self, x):
    return self.out(nnx.relu(self.hidden(x)))


_DATA = np.random.default_rng(0).normal(size=(8, 3)).astype('float32')


def _loss(model):
  return jnp.mean(jnp.square(model(_DATA) - 1.0))


@pytest.mark.slow
def test_nnx_optimizer():
  tx = _chain()
  model = _Model(nnx.Rngs(0))
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  pure = nnx.as_pure(params)
  gradient = jax.grad(lambda p: _loss(nnx.merge(graph, p, rest)))(pure)
  updates, _ = tx.update(gradient, tx.init(pure), pure)
  expected = optax.apply_updates(pure, updates)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  optimizer.update(model, nnx.grad(_loss)(model))
  close(nnx.as_pure(nnx.state(model, nnx.Param)), expected)


def test_train_state_and_checkpoint_of_all(tmp_path):
  model = nn.Dense(2)
  params = model.init(jax.random.key(0), _DATA)['params']
  tx = beside({name: case.tx() for name, case in CASES.items()})
  state = train_state.TrainState.create(
    apply_fn=model.apply, params=_by_name(params), tx=tx
  )
  held = {'params': state.params, 'opt_state': state.opt_state}
  again = restored(tmp_path / 'checkpoint', held)
  chex.assert_trees_all_equal(again, held)
  chex.assert_trees_all_equal_structs(again, held)
  assert types_of(again) == types_of(held)


# Sharding.


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['Auto', 'Explicit'])
def test_sharded_equals_unsharded(kind):
  rng = np.random.default_rng(0)
  # JAX: psum inside vmap does not take Explicit axes.
  txs = {
    name: optax.chain(optax.scale(-RATE), case.tx())
    for name, case in CASES.items()
    if name != 'replicas' or kind == 'Auto'
  }
  tx = beside(txs)

  def draw():
    kernel = jnp.asarray(rng.normal(size=(8, 16)), 'float32')
    bias = jnp.asarray(rng.normal(size=16), 'float32')
    return {name: {'kernel': kernel, 'bias': bias} for name in txs}

  params, gradients = draw(), [draw() for _ in range(2)]
  expected, _ = trained(tx, params, gradients, compiled=True)
  mesh = device_mesh(kind, x=4, y=2)
  place = {'kernel': jax.P('x', 'y'), 'bias': jax.P('y')}
  with jax.set_mesh(mesh):
    placed = jax.tree.map(lambda s: jax.sharding.NamedSharding(mesh, s), place)
    params, *gradients = (
      jax.device_put(tree, dict.fromkeys(txs, placed))
      for tree in (params, *gradients)
    )
    actual, _ = trained(tx, params, gradients, compiled=True)
  for name in txs:
    for kind_of_leaf, leaf in actual[name].items():
      assert leaf.sharding.is_equivalent_to(placed[kind_of_leaf], leaf.ndim)
    # Differences of sums, in another order, over ε.
    rough = dict(rtol=2e-3, atol=1e-3) if 'perturbation' in name else {}
    close(*(jax.tree.map(np.asarray, x[name]) for x in (actual, expected)),
          **rough)  # fmt: skip
