"""Every mechanism is a good citizen of JAX and Optax.

A mechanism takes part by an entry in `registry.CASES`.
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
import orbax.checkpoint as ocp
import pytest

from neuroplastic_optax import mechanisms
from tests import promotion
from tests.arrays import device_mesh
from tests.mechanisms.registry import CASES
from tests.mechanisms.registry import every_case
from tests.running import all_updates
from tests.running import trained
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import stack
from tests.trees import types_of

FLOATS = ('float16', 'bfloat16', 'float32', 'float64')
# Steps of a size that trains, and from which signs and bounds are seen.
RATE = 0.3


def _complete(tx):
  """The mechanism behind a learning rate, and in front of nothing."""
  return optax.chain(optax.scale(-RATE), tx)


close = functools.partial(chex.assert_trees_all_close, rtol=2e-5, atol=2e-6)


def test_every_mechanism_is_registered():
  made = {case.make for case in CASES.values()}
  names = set(mechanisms.__all__)
  functions = {n for n in names if n[0].islower()}
  others = {'fan_in_bounds', 'eval_params', 'reset_state'}
  wrapped = {
    'neural_variability', 'synergy', 'reset_moments', 'couple_replicas',
  }  # fmt: skip
  expected = functions - others - wrapped
  assert {getattr(mechanisms, name) for name in expected} <= made


# JAX.


def _pointers(tree):
  return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@every_case
def test_compiled_donated_scanned_and_mapped(case):
  """All give what operation by operation gives, with one compilation."""
  tx = _complete(case.tx())
  members, gradients = random_trees(2), random_trees(3)
  expected = trained(tx, members[0], gradients)
  traces = 0

  def step(params, state, gradient):
    nonlocal traces
    traces += 1
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  @jax.jit
  def scan(params, gradients):
    one = lambda carry, gradient: (step(*carry, gradient), None)
    start = params, tx.init(params)
    return jax.lax.scan(one, start, gradients)[0]

  # Carried from step to step: shapes and types stay.
  mapped = jax.vmap(scan, (0, None))(stack(members), stack(gradients))
  take = lambda i: jax.tree.map(lambda x: x[i], mapped)
  close(take(0), expected)
  close(take(1), trained(tx, members[1], gradients))
  # No two buffers are one, neither in the state nor with the params: so both
  # can be donated.
  traces = 0
  donating = jax.jit(step, donate_argnums=(0, 1))
  params, state = members[0], tx.init(members[0])
  for gradient in gradients:
    pointers = _pointers((params, state))
    assert len(set(pointers)) == len(pointers)
    params, state = donating(params, state, gradient)
  assert traces == 1
  close((params, state), expected)


@every_case
def test_updates_do_not_keep_the_buffers_of_params(case):
  tx = case.tx()
  params, gradient = random_tree(0), random_tree(1)
  state = tx.init(params)
  for update in (tx.update, jax.jit(tx.update)):
    _, after = update(gradient, state, params)
    pointers = _pointers(after)
    assert len(set(pointers)) == len(pointers)
    assert not set(pointers) & set(_pointers((params, gradient)))
  pointers = _pointers(jax.jit(tx.init)(params))
  assert len(set(pointers)) == len(pointers)
  assert not set(pointers) & set(_pointers(params))


@every_case
@pytest.mark.parametrize('dtype', FLOATS)
def test_types_stay(case, dtype):
  with jax.enable_x64(dtype == 'float64'):
    tx = case.tx()
    params = jax.eval_shape(lambda: random_tree(0, dtype))
    state = jax.eval_shape(tx.init, params)
    types = jax.tree.leaves(types_of(state))
    assert not any(t.weak_type for t in types)
    # Accumulators are wide; but for those of Optax within a wrapper.
    if not case.make.__name__.startswith('_'):
      floating = [t for t in types if jnp.issubdtype(t.dtype, jnp.floating)]
      assert all(jnp.finfo(t.dtype).bits >= 32 for t in floating)
    after = jax.eval_shape(tx.update, params, state, params)
    assert types_of(after) == types_of((params, state))


@every_case
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_strict_promotion(case, dtype):
  def check():
    tx, params = case.tx(), random_tree(0, dtype)
    state = jax.eval_shape(tx.init, params)
    jax.eval_shape(tx.update, params, state, params)

  promotion.strictly(check)


def _without_bounds(state):
  """The state without what may be infinite."""
  if isinstance(state, mechanisms.ClipWeightsState):
    return None
  return state


# Trees.


@every_case
@pytest.mark.parametrize('tree', [{}, {'a': None, 'b': ()}])
def test_empty_trees(case, tree):
  tx = case.tx()
  state = tx.init(tree)
  updates, after = tx.update(tree, state, tree)
  assert updates == tree
  chex.assert_trees_all_equal_structs(state, after)


@every_case
@pytest.mark.parametrize('hole', [None, optax.MaskedNode()])
def test_holes_and_odd_leaves(case, hole):
  tx = case.tx()
  odd = {'empty': jnp.zeros((3, 0)), 'one': jnp.ones((1, 1))}
  wide = lambda tree: {'a': tree, 'hole': hole, 'z': odd}
  params, gradients = random_tree(0), random_trees(2)
  with jax.debug_nans(True):
    actual, state = trained(tx, wide(params), map(wide, gradients))
  assert actual['hole'] == hole
  assert types_of(actual['z']) == types_of(odd)
  chex.assert_tree_all_finite((actual, _without_bounds(state)))
  if not case.pooled:
    expected, _ = trained(tx, {'a': params}, [{'a': g} for g in gradients])
    close(actual['a'], expected['a'])


@every_case
def test_a_missing_gradient_moves_nothing(case):
  tx = case.tx()
  params, gradient = random_tree(0), random_tree(1)
  part = gradient | {'dense': {'kernel': None, 'bias': None}}
  state = tx.init(params)
  # Optax's own accumulators do not take holes that were none at `init`.
  if case.make.__name__ in ('_synergy', '_reset', '_variability'):
    return
  updates, after = tx.update(part, state, params)
  assert updates['dense'] == {'kernel': None, 'bias': None}
  chex.assert_trees_all_equal_structs(after, state)


@every_case
def test_missing_params_are_one_sentence(case):
  tx, params = case.tx(), random_tree(0)
  if case.wrap.__name__ == 'with_replicas' or not case.needs_params:
    return
  with pytest.raises(ValueError, match=r'^\w+ needs the params: call update'):
    tx.update(params, tx.init(params))


# Numbers.

_HUGE = (0.0, 1e-38, 1e-30, 1e30, 1e38)


def _filled(params, magnitude):
  """Leaves of that magnitude, with signs that alternate."""

  def leaf(x):
    signs = np.where(np.arange(x.size) % 2, -1.0, 0.7).reshape(x.shape)
    return jnp.asarray(signs * magnitude, x.dtype)

  return jax.tree.map(leaf, params)


@every_case
def test_no_finite_number_makes_nan_or_infinity(case):
  if case.make.__name__ in ('_synergy', '_reset', '_variability'):
    return  # What is inside overflows by itself.
  tx = case.tx()
  tree = random_tree(0)
  update = jax.jit(tx.update)
  for of_params in _HUGE:
    params = _filled(tree, of_params)
    for of_gradient in _HUGE:
      state = tx.init(params)
      for _ in range(3):
        gradient = _filled(tree, of_gradient)
        updates, state = update(gradient, state, params)
        chex.assert_tree_all_finite((updates, _without_bounds(state)))


@every_case
def test_bad_gradients_show(case):
  """So that `apply_if_finite` sees them, whatever the mechanism holds back."""
  if case.make.__name__ == 'simultaneous_perturbation':
    return  # It ignores them.
  tx = case.tx()
  params, gradient = random_tree(0), random_tree(1)
  bad = jax.tree.map(lambda g: g * jnp.nan, gradient)
  updates, _ = tx.update(bad, tx.init(params), params)
  if case.make.__name__ in ('sleep', 'keep_signs'):
    return
  assert not any(jnp.isfinite(x).all() for x in jax.tree.leaves(updates))


@every_case
def test_neutral_settings_are_the_identity(case):
  if case.neutral is None:
    return
  tx = case.tx(**case.neutral)
  for dtype in ('float32', 'bfloat16'):
    params, gradients = random_tree(0, dtype), random_trees(3, dtype)
    state = tx.init(params)
    for gradient in gradients:
      # Of a zero, the sign too.
      gradient = jax.tree.map(lambda g: jnp.where(g > 1, -0.0, g), gradient)
      updates, state = tx.update(gradient, state, params)
      chex.assert_trees_all_equal(updates, gradient)
      # CLASSP's updates are 0 where g² is not above its threshold.
      if case.make is not mechanisms.scale_by_classp:
        chex.assert_trees_all_equal(
          *(jax.tree.map(jnp.signbit, x) for x in (updates, gradient))
        )
      params = optax.apply_updates(params, updates)


@every_case
def test_injected_and_scheduled_numbers_are_the_numbers(case):
  if not case.numbers:
    return
  params, gradients = random_tree(0), random_trees(4)
  expected, _ = trained(case.tx(**case.numbers), params, gradients)
  injected = optax.inject_hyperparams(case.make)(
    **{**case.settings, **case.numbers}
  )
  state = injected.init(params)
  assert state.hyperparams.keys() >= case.numbers.keys()

  def update(updates, state, params):
    inner = case.wrap(
      optax.GradientTransformationExtraArgs(injected.init, injected.update)
    )
    return inner.update(updates, state, params)

  tx = optax.GradientTransformation(injected.init, update)
  actual, _ = trained(tx, params, gradients, compiled=True)
  close(actual, expected)


@every_case
def test_numbers_may_be_schedules_of_the_count_from_0(case):
  params, gradients = random_tree(0), random_trees(3)
  for name, value in case.numbers.items():
    if 'decay' in name or name == 'bound':
      continue
    expected, _ = all_updates(case.tx(**{name: value}), params, gradients)
    # What the first two updates see is the number; the third, another.
    schedule = lambda count, value=value: jnp.where(count < 2, value, 0.9)
    actual, _ = all_updates(case.tx(**{name: schedule}), params, gradients)
    close(actual[:2], expected[:2])


@every_case
def test_numbers_may_be_tracers(case):
  params, gradients = random_tree(0), random_trees(2)
  for name, value in case.numbers.items():
    run = jax.vmap(
      lambda x, name=name: trained(case.tx(**{name: x}), params, gradients)[0]
    )
    actual = run(jnp.array([value, value]))
    expected, _ = trained(case.tx(**{name: value}), params, gradients)
    close(jax.tree.map(lambda x: x[1], actual), expected)


# Optax.


@every_case
def test_masked_and_partition(case):
  tx = case.tx()
  params, gradients = random_tree(0), random_trees(3)
  mask = {'dense': True, 'scale': False}
  actual, _ = trained(optax.masked(tx, mask), params, gradients)
  alone, _ = trained(
    tx, {'dense': params['dense']}, [{'dense': g['dense']} for g in gradients]
  )
  close(actual['dense'], alone['dense'])
  labels = {'dense': 'ours', 'scale': 'other'}
  parts = {'ours': tx, 'other': optax.sgd(0.1)}
  actual, _ = trained(optax.partition(parts, labels), params, gradients)
  close(actual['dense'], alone['dense'])


@every_case
def test_multi_steps_accumulates(case):
  tx = _complete(case.tx())
  params, gradients = random_tree(0), random_trees(3)
  doubled = [g for g in gradients for _ in range(2)]
  actual, state = trained(
    optax.MultiSteps(tx, 2), params, doubled, compiled=True
  )
  expected = trained(tx, params, gradients)
  close((actual, state.inner_opt_state), expected)


@every_case
def test_apply_if_finite_leaves_no_trace_of_a_bad_step(case):
  tx = optax.apply_if_finite(_complete(case.tx()), 3)
  params, gradients = random_tree(0), random_trees(3)
  bad = gradients[0] | {'scale': jnp.float32(jnp.nan)}
  run = functools.partial(trained, tx, params, compiled=True)
  actual = run([*gradients[:2], bad, *gradients[2:]])
  if actual[1].total_notfinite == 0:
    return  # Asleep, or with eyes for no gradient.
  good = run(gradients)
  chex.assert_trees_all_equal(actual[0], good[0])
  chex.assert_trees_all_equal(actual[1].inner_state, good[1].inner_state)


@every_case
def test_copies_of_the_params_are_what_optax_takes_for_them(case):
  tx, params = case.tx(), random_tree(0)
  state = tx.init(params)

  def check(leaf, shape):
    assert leaf.shape == shape
    return leaf

  same = optax.tree.map_params(tx, check, state, jax.tree.map(_Shape, params))
  chex.assert_trees_all_equal(same, state)
  others = []
  optax.tree.map_params(
    tx, lambda x: x, state, transform_non_params=others.append
  )
  for leaf in jax.tree.leaves(others):
    assert leaf.shape != (3, 4)


class _Shape:
  """The shape of a leaf, as a leaf; compares with a tuple."""

  def __init__(self, leaf):
    self._shape = leaf.shape

  def __eq__(self, other):
    return self._shape == other

  __hash__ = None


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


@every_case
def test_nnx_optimizer(case):
  tx = _complete(case.tx())
  model = _Model(nnx.Rngs(0))
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  pure = nnx.as_pure(params)
  loss = lambda p: _loss(nnx.merge(graph, p, rest))
  gradient = jax.grad(loss)(pure)
  state = tx.init(pure)
  updates, _ = tx.update(gradient, state, pure)
  expected = optax.apply_updates(pure, updates)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  optimizer.update(model, nnx.grad(_loss)(model))
  close(nnx.as_pure(nnx.state(model, nnx.Param)), expected)


@every_case
def test_train_state_and_checkpoint(case, tmp_path):
  tx = _complete(case.tx())
  model = nn.Dense(2)
  params = model.init(jax.random.key(0), _DATA)['params']
  state = train_state.TrainState.create(
    apply_fn=model.apply, params=params, tx=tx
  )
  gradient = jax.tree.map(jnp.ones_like, params)
  middle = state.apply_gradients(grads=gradient)
  held = {'params': middle.params, 'opt_state': middle.opt_state}
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / 'checkpoint', held)
    checkpointer.wait_until_finished()
    abstract = jax.eval_shape(
      lambda: {'params': params, 'opt_state': tx.init(params)}
    )
    restored = checkpointer.restore(tmp_path / 'checkpoint', abstract)
  chex.assert_trees_all_equal(restored, held)
  assert types_of(restored) == types_of(held)
  expected = middle.apply_gradients(grads=gradient)
  actual = state.replace(**restored).apply_gradients(grads=gradient)
  chex.assert_trees_all_equal(actual.params, expected.params)


# Sharding.


@every_case
@pytest.mark.parametrize('kind', ['Auto', 'Explicit'])
def test_sharded_equals_unsharded(case, kind):
  if case is CASES['replicas'] and kind == 'Explicit':
    pytest.skip('JAX: psum inside vmap does not take Explicit axes')
  rng = np.random.default_rng(0)

  def draw():
    shapes = {'kernel': (8, 16), 'bias': (16,)}
    return {
      name: jnp.asarray(rng.normal(size=shape), 'float32')
      for name, shape in shapes.items()
    }

  tx = _complete(case.tx())
  params, gradients = draw(), [draw() for _ in range(2)]
  expected, _ = trained(tx, params, gradients)
  mesh = device_mesh(kind, x=4, y=2)
  place = {'kernel': jax.P('x', 'y'), 'bias': jax.P('y')}
  with jax.set_mesh(mesh):
    placed = jax.tree.map(lambda s: jax.sharding.NamedSharding(mesh, s), place)
    params, *gradients = (
      jax.device_put(tree, placed) for tree in (params, *gradients)
    )
    actual, _ = trained(tx, params, gradients, compiled=True)
    for name, leaf in actual.items():
      assert leaf.sharding.is_equivalent_to(placed[name], leaf.ndim)
  host = functools.partial(jax.tree.map, np.asarray)
  # Differences of sums, in another order, over ε.
  rough = case.make is mechanisms.simultaneous_perturbation
  close(
    host(actual),
    host(expected),
    **(dict(rtol=2e-3, atol=1e-3) if rough else {}),
  )
