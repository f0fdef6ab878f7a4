"""Every rule within `recycle` is a good citizen of JAX, Optax and Flax.

These are the questions that mechanisms are asked in
`tests/mechanisms/test_conformance.py`, of a network with units.
"""

import functools

import chex
from flax import nnx
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import units
from tests import promotion
from tests.arrays import device_mesh
from tests.mechanisms.registry import beside
from tests.running import restored
from tests.trees import types_of
from tests.units import networks

pytestmark = pytest.mark.slow

RULES = {
  'redo': (units.Redo(0.5), 2),
  'gradient': (units.GradientMagnitude(0.8), 2),
  'contribution': (units.ContinualBackprop(0.2, 1, 0.9), 1),
  'adaptable': (
    units.ContinualBackprop(0.2, 1, utility='adaptable_contribution'),
    1,
  ),
  'normalized': (units.SelfNormalized(0.5, 9, 2, 3), 1),
  'partial': (units.CalibratedPartial(0.5), 2),
  'random': (units.RandomUnits(0.2), 1),
}
close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-5)


def _params(seed=0, dtype='float32'):
  tree = networks.mlp_params(seed)
  return jax.tree.map(lambda x: x.astype(dtype), tree)


def _make(name, **more):
  rule, every = RULES[name]
  adam = optax.chain(units.scale_by_adam(), optax.scale(-0.1))
  return units.recycle(
    adam, networks.mlp_layers(_params()), rule, every, **more
  )


def _txs():
  upgd = mechanisms.scale_by_upgd(
    noise=0.1, units=networks.mlp_layers(_params())
  )
  return {name: _make(name) for name in RULES} | {'upgd': upgd}


def _activations(n=3, dtype='float32', seed=0):
  rng = np.random.default_rng(seed)
  sizes = {'a': 6, 'b': 5}
  # The first unit of each never fires.
  return {
    k: jnp.asarray(rng.normal(size=(n, size)).clip(0), dtype).at[:, 0].set(0)
    for k, size in sizes.items()
  }


def _update(tx, g, state, params, h):
  """Of transformations by name, each given the activations."""
  pairs = {
    name: one.update(g[name], state[name], params[name], activations=h)
    for name, one in tx.items()
  }
  return tuple({name: pairs[name][i] for name in pairs} for i in range(2))


def _copied(tree):
  return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)


def _by_name(tree):
  return _copied(dict.fromkeys(_txs(), tree))


class _Compiled:
  """All of them, in one donated step that is compiled once."""

  def __init__(self):
    self.txs, self.traces = _txs(), 0
    self.step = jax.jit(self._step, donate_argnums=(0, 1))

  def init(self, params):
    return {name: tx.init(params[name]) for name, tx in self.txs.items()}

  def _step(self, params, state, g, h):
    self.traces += 1
    updates, state = _update(self.txs, g, state, params, h)
    return optax.apply_updates(params, updates), state

  def train(self, tree, gradients):
    params = _by_name(tree)
    state = self.init(params)
    for i, g in enumerate(gradients):
      h = _activations(seed=i)
      params, state = self.step(params, state, _by_name(g), h)
    return params, state


@functools.cache
def compiled():
  return _Compiled()


def test_one_donated_compilation_keeps_types_and_shares_no_buffer():
  ours, params = compiled(), _by_name(_params())
  state = ours.init(params)
  types = types_of((params, state))
  for i in range(4):
    leaves = [x for x in jax.tree.leaves((params, state)) if x.size]
    pointers = [x.unsafe_buffer_pointer() for x in leaves]
    assert len(set(pointers)) == len(pointers)
    params, state = ours.step(
      params, state, _by_name(_params(i + 1)), _activations(seed=i)
    )
    assert types_of((params, state)) == types
  assert ours.traces == 1
  chex.assert_tree_all_finite((params, state))
  for name in RULES:
    assert sum(units.recycled(state[name]).values()) > 0, name
  assert not any(t.weak_type for t in jax.tree.leaves(types))


@pytest.mark.slow
def test_jit_is_as_without():
  trees = [_params(i + 1) for i in range(4)]
  params = _by_name(_params())
  state = compiled().init(params)
  for i, g in enumerate(trees):
    updates, state = _update(
      compiled().txs, _by_name(g), state, params, _activations(seed=i)
    )
    params = optax.apply_updates(params, updates)
  close(compiled().train(_params(), trees), (params, state))


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_types_stay_under_strict_promotion(dtype):
  with jax.enable_x64(dtype == 'float64'):
    params = jax.eval_shape(lambda: _params(0, dtype))
    h = jax.eval_shape(lambda: _activations(3, dtype))
    for name, tx in _txs().items():
      seen = []

      def check(tx=tx, seen=seen):
        state = jax.eval_shape(tx.init, params)
        update = lambda g, *rest, h: tx.update(g, *rest, activations=h)
        seen[:] = state, jax.eval_shape(update, params, state, params, h=h)

      promotion.strictly(check)
      state, after = seen
      types = jax.tree.leaves(types_of(state))
      assert not any(t.weak_type for t in types), name
      floating = [t for t in types if jnp.issubdtype(t.dtype, jnp.floating)]
      assert all(jnp.finfo(t.dtype).bits >= 32 for t in floating), name
      assert types_of(after) == types_of((params, state)), name


def test_an_empty_tree_stays():
  tree = {}
  for name, tx in _txs().items():
    state = jax.eval_shape(tx.init, tree)
    updates, after = jax.eval_shape(tx.update, tree, state, tree)
    assert updates == tree, name
    chex.assert_trees_all_equal_structs(state, after)


def test_a_missing_gradient_of_a_layer_is_named():
  params = _params()
  part = params | {'b': {'kernel': None, 'bias': None}}
  for tx in _txs().values():
    state = jax.eval_shape(tx.init, params)
    update = functools.partial(tx.update, activations=_activations())
    with pytest.raises(ValueError, match="no leaf 'b/kernel'"):
      jax.eval_shape(update, part, state, params)


def _filled(size):
  return jax.tree.map(
    lambda x: jnp.where(x > 0, size, -size).astype(x.dtype), _params()
  )


def test_no_finite_number_makes_nan_or_infinity():
  for of_params in (0.0, 1e-38, 1e-30, 1e30, 1e38):
    for of_gradient in (0.0, 1e-38, 1e-30, 1e30, 1e38):
      params, g = _filled(of_params), _filled(of_gradient)
      held = compiled().train(params, [g] * 3)
      for name in RULES:
        for tree in held:
          leaves = jax.tree.leaves(tree[name])
          fine = all(np.isfinite(x).all() for x in leaves)
          assert fine, (name, of_params, of_gradient)


def test_full_counts_stay_full():
  most = np.iinfo(np.int32).max
  ours, params = compiled(), _by_name(_params())
  is_count = lambda x: x.dtype == jnp.int32 and x.ndim == 0
  state = jax.tree.map(
    lambda x: jnp.full_like(x, most - 1) if is_count(x) else x,
    ours.init(params),
  )
  for i in range(3):
    params, state = ours.step(
      params, state, _by_name(_params(i)), _activations()
    )
  chex.assert_tree_all_finite(params)
  assert all(state[name].count == most for name in RULES)


def test_copies_of_the_params_are_what_optax_takes_for_them():
  params = _params()
  shapes = jax.tree.map(lambda x: [x.shape], params)
  for name, tx in _txs().items():
    state = jax.eval_shape(tx.init, params)

    def check(leaf, shape, name=name):
      assert [leaf.shape] == shape, name
      return leaf

    optax.tree.map_params(
      tx, check, state, shapes, is_leaf=lambda x: isinstance(x, list)
    )


def test_multi_steps_and_apply_if_finite():
  params, h, tx = _params(), _activations(), _make('redo')
  step = jax.jit(tx.update)
  every_second = jax.jit(optax.MultiSteps(tx, 2).update)
  finite = jax.jit(optax.apply_if_finite(tx, 3).update)
  state = tx.init(params)
  summed = optax.MultiSteps(tx, 2).init(params)
  checked = optax.apply_if_finite(tx, 3).init(params)
  bad = jax.tree.map(lambda g: g * jnp.nan, params)
  for i in range(4):
    g = _params(i + 1)
    updates, state = step(g, state, params, activations=h)
    for _ in range(2):
      mean, summed = every_second(g, summed, params, activations=h)
    _, checked = finite(bad, checked, params, activations=h)
    good, checked = finite(g, checked, params, activations=h)
    close(mean, updates)
    close(good, updates)
  total = units.recycled(state)['a']
  assert (
    units.recycled(summed)['a'] == units.recycled(checked)['a'] == total > 0
  )


# Flax and Orbax.


class _Model(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(3, 4, rngs=rngs)
    self.out = nnx.Linear(4, 2, rngs=rngs)

  def __call__(self, x):
    h = nnx.relu(self.hidden(x))
    return self.out(h), {'hidden': h}


def test_nnx_optimizer_passes_activations():
  model = _Model(nnx.Rngs(0))
  params = nnx.state(model, nnx.Param)
  layers = units.chain(params, ['hidden/kernel', 'out/kernel'])
  tx = units.recycle(optax.adam(0.1), layers, units.Redo(0.9), every=1)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), 'float32')

  @nnx.jit
  def step(model, optimizer, x):
    def loss(model):
      y, activations = model(x)
      return jnp.mean(jnp.square(y - 1.0)), activations

    grads, activations = nnx.grad(loss, has_aux=True)(model)
    optimizer.update(model, grads, activations=activations)
    return activations['hidden']

  h = step(model, optimizer, x)
  size = np.abs(h).mean(0)
  dormant = size <= 0.9 * size.mean()
  assert 0 < dormant.sum() < 4
  kernel = model.out.kernel[...]
  np.testing.assert_array_equal(np.asarray(kernel == 0).all(1), dormant)
  found = units.recycled(optimizer.opt_state)['hidden']
  np.testing.assert_allclose(found, dormant.mean())


def test_train_state_and_checkpoint_of_all(tmp_path):
  params = _params()
  state = train_state.TrainState.create(
    apply_fn=None, params=_by_name(params), tx=beside(_txs())
  )
  held = {'params': state.params, 'opt_state': state.opt_state}
  again = restored(tmp_path / 'checkpoint', held)
  chex.assert_trees_all_equal(again, held)
  chex.assert_trees_all_equal_structs(again, held)


# Sharding.


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['Auto', 'Explicit'])
def test_sharded_equals_unsharded(kind):
  params = networks.mlp_params(0, (8, 16, 8, 4))
  layers = networks.mlp_layers(params)
  rng = np.random.default_rng(0)
  h = {k: jnp.asarray(rng.normal(size=(8, n)), 'float32').clip(0)
       for k, n in (('a', 16), ('b', 8))}  # fmt: skip
  adam = optax.chain(units.scale_by_adam(), optax.scale(-0.1))
  txs = {
    name: units.recycle(adam, layers, rule, every)
    for name, (rule, every) in RULES.items()
  }
  by_name = lambda tree: dict.fromkeys(txs, tree)

  def run(params, g, h):
    step = jax.jit(lambda *x: _update(txs, *x))
    state = {name: tx.init(params[name]) for name, tx in txs.items()}
    for _ in range(3):
      updates, state = step(g, state, params, h)
    return updates, {name: state[name].total for name in txs}

  g = networks.mlp_params(1, (8, 16, 8, 4))
  expected = run(by_name(params), by_name(g), h)
  mesh = device_mesh(kind, x=4, y=2)
  place = lambda x: jax.NamedSharding(
    mesh, jax.P('x', 'y') if x.ndim == 2 and x.shape[1] > 4 else jax.P()
  )
  put = lambda tree: jax.tree.map(lambda x: jax.device_put(x, place(x)), tree)
  with jax.set_mesh(mesh):
    actual = run(by_name(put(params)), by_name(put(g)), put(h))
  close(jax.tree.map(np.asarray, actual), jax.tree.map(np.asarray, expected))


@pytest.mark.slow
def test_a_batch_split_inside_shard_map_needs_axis_name():
  params, h, g = _params(), _activations(8), _params(1)
  mesh = device_mesh(x=4)

  def run(tx, split):
    def steps(params, g, h):
      state = tx.init(params)
      for _ in range(3):
        updates, state = tx.update(g, state, params, activations=h)
      return updates, state.total

    if split:
      specs = (jax.P(), jax.P(), jax.P('x'))
      steps = jax.shard_map(
        steps, mesh=mesh, in_specs=specs, out_specs=jax.P()
      )  # fmt: skip
    return jax.jit(steps)(params, g, h)

  for name, (rule, _) in RULES.items():
    close(run(_make(name, axis_name='x'), True), run(_make(name), False))
    if rule.uses_activations:
      with pytest.raises(ValueError, match="mesh axes .'x'.: name the mesh"):
        run(_make(name), True)
