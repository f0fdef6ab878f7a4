"""`recycle`: what becomes of kernels, vectors and moments; its boundaries."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import units
from tests.trees import types_of
from tests.units import networks

fixed = networks.fixed
A, B = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0, 1.0)


def _problem():
  params = networks.mlp_params()
  g, h = networks.gradient(params, networks.batches(1)[0])
  return params, networks.mlp_layers(params), g, h


def _bits(tree):
  return jax.tree.map(lambda x: np.asarray(x).tobytes(), tree)


# The network without the units.


def _normal(rng, *shape):
  return jnp.asarray(rng.normal(size=shape), 'float32')


def _mlp():
  params = networks.mlp_params()
  apply = lambda params, x: networks.mlp(params, x)[0]
  return params, networks.mlp_layers(params), apply, (8, 4)


def _conv():
  rng = np.random.default_rng(0)
  params = {
    'conv': {'kernel': _normal(rng, 3, 3, 2, 4), 'bias': _normal(rng, 4)},
    'more': {'kernel': _normal(rng, 2, 2, 4, 3), 'bias': _normal(rng, 3)},
    'head': {'kernel': _normal(rng, 4 * 5 * 3, 2), 'bias': _normal(rng, 2)},
  }

  def apply(params, x):
    for name in ('conv', 'more'):
      x = jax.lax.conv_general_dilated(
        x, params[name]['kernel'], (1, 1), 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )  # fmt: skip
      x = jax.nn.relu(x + params[name]['bias'])
    x = x.reshape(len(x), -1)
    return x @ params['head']['kernel'] + params['head']['bias']

  layers = units.chain(params, [f'{k}/kernel' for k in params])
  assert [layer.repeat for layer in layers] == [1, 20]
  return params, layers, apply, (8, 4, 5, 2)


def _gated():
  rng = np.random.default_rng(0)
  params = {
    'up': _normal(rng, 4, 5), 'gate': _normal(rng, 4, 5),
    'bias': _normal(rng, 5), 'down': _normal(rng, 5, 2),
    'side': _normal(rng, 5, 3),
  }  # fmt: skip

  def apply(params, x):
    h = jax.nn.silu(x @ params['gate']) * (x @ params['up'] + params['bias'])
    return h @ params['down'], h @ params['side']

  layer = units.Layer('h', ('up', 'gate'), ('down', 'side'), {'bias': 0.0})
  return params, (layer,), apply, (8, 4)


def _batch_norm():
  rng = np.random.default_rng(0)
  params = {
    'dense': {'kernel': _normal(rng, 4, 6)},
    'norm': {'scale': _normal(rng, 6), 'bias': _normal(rng, 6)},
    'head': {'kernel': _normal(rng, 6, 2)},
  }

  def apply(params, x):
    h = x @ params['dense']['kernel']
    h = (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)
    h = jax.nn.relu(h * params['norm']['scale'] + params['norm']['bias'])
    return h @ params['head']['kernel']

  vectors = {'norm/scale': 1.0, 'norm/bias': 0.0}
  layer = units.Layer('h', 'dense/kernel', 'head/kernel', vectors)
  return params, (layer,), apply, (8, 4)


NETWORKS = {'mlp': _mlp, 'conv': _conv, 'gated': _gated, 'norm': _batch_norm}


def _without(params, layer, half):
  """The params without half of the units of a layer, by the name of leaves."""
  at = lambda path: path.split('/')
  params = jax.tree.map(lambda x: x, params)

  def cut(path, function):
    *parents, last = at(path)
    node = params
    for name in parents:
      node = node[name]
    node[last] = function(node[last])

  kept = ~np.asarray(half)
  for path in (*layer.incoming, *(path for path, _ in layer.vectors)):
    cut(path, lambda x: x[..., kept])
  for path in layer.outgoing:
    cut(path, lambda x: x[..., np.tile(kept, layer.repeat), :])
  return params


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_recycled_network_is_that_without_the_units(name):
  params, layers, apply, shape = NETWORKS[name]()
  x = _normal(np.random.default_rng(1), *shape)
  for layer in layers:
    tx = units.recycle(optax.identity(), layers, _Half(layer.name))
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = tx.update(zeros, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    half = state.share[layer.name] > 0
    smaller = apply(_without(params, layer, half), x)
    chex.assert_trees_all_close(apply(after, x), smaller, rtol=1e-5, atol=1e-5)
    assert not np.allclose(*map(_first, (apply(params, x), smaller)))
    # Vectors are where they belong, and fresh weights are not the old ones.
    leaves = dict(
      (jax.tree_util.keystr(path, simple=True, separator='/'), leaf)
      for path, leaf in jax.tree.leaves_with_path(after)
    )
    for path, value in layer.vectors:
      np.testing.assert_allclose(leaves[path][half], value, atol=1e-6)
    for path in layer.incoming:
      assert leaves[path][..., half].all()


def _first(tree):
  return jax.tree.leaves(tree)[0]


class _Half(networks.Fixed):
  """Every other unit of one layer."""

  def init(self, layer, size):
    half = jnp.arange(size) % 2 == 0
    return jnp.where(layer.name == self.shares, half, False).astype('float32')


def test_updates_are_as_the_formulas_say():
  params, layers, g, _ = _problem()
  r = {'a': (0.25, 0.0, 1.0, 0.0, 0.5, 0.0), 'b': (0.0, 0.5, 1.0, 0.0, 0.0)}
  init = lambda key, shape, dtype: jnp.full(shape, 2.0, dtype)
  tx = units.recycle(optax.sgd(0.1), layers, fixed(**r), init=init)
  updates, _ = tx.update(g, tx.init(params), params)
  after = optax.apply_updates(params, updates)
  a, b = map(np.asarray, r.values())
  moved = jax.tree.map(lambda w, g: w - 0.1 * g, params, g)
  kernels = [moved[k]['kernel'] for k in 'abc']
  expected = [(1 - a) * kernels[0] + 2 * a, (1 - b) * kernels[1] + 2 * b]
  expected = [
    expected[0], (1 - a)[:, None] * expected[1], (1 - b)[:, None] * kernels[2],
  ]  # fmt: skip
  for k, kernel in zip('abc', expected, strict=True):
    np.testing.assert_allclose(after[k]['kernel'], kernel, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    after['a']['bias'], (1 - a) * moved['a']['bias'], rtol=1e-5
  )
  # Both ends: 0 wins. Where r is 1, steps are exact; where it is 0, inner's.
  assert after['b']['kernel'][2, 2] == 0
  np.testing.assert_array_equal(
    updates['a']['kernel'][:, 2], 2.0 - params['a']['kernel'][:, 2]
  )
  inner, _ = optax.sgd(0.1).update(g, optax.sgd(0.1).init(params))
  keep = np.ix_(a == 0, b == 0)
  np.testing.assert_array_equal(
    np.asarray(updates['b']['kernel'])[keep],
    np.asarray(inner['b']['kernel'])[keep],
  )
  chex.assert_trees_all_equal(updates['c']['bias'], inner['c']['bias'])


def test_updates_without_recycling_are_inners_bit_for_bit():
  params, layers, g, h = _problem()
  g = jax.tree.map(lambda x: jnp.where(x > 0, -0.0, x), g)
  inner = optax.adam(0.1)
  expected, _ = jax.jit(inner.update)(g, inner.init(params), params)
  for rule in (units.Redo(0.0), units.RandomUnits(0.0), fixed()):
    tx = units.recycle(inner, layers, rule, every=2)
    state = tx.init(params)
    updates, state = jax.jit(tx.update)(g, state, params, activations=h)
    assert _bits(updates) == _bits(expected)
    chex.assert_trees_all_equal(state.share, state.total)


def test_it_acts_at_multiples_of_every():
  params, layers, g, _ = _problem()
  tx = units.recycle(optax.sgd(0.1), layers, fixed(a=A), every=3)
  state, acted = tx.init(params), []
  for _ in range(7):
    _, state = tx.update(g, state, params)
    acted.append(float(state.total['a'][0]))
  assert acted == [0, 0, 1, 1, 1, 2, 2]
  # The share of the last time stays.
  np.testing.assert_array_equal(state.share['a'], A)


# Fresh weights.


def test_fresh_weights_have_the_deviation_at_init_and_differ():
  rng = np.random.default_rng(0)
  params = {'a': 0.3 * _normal(rng, 200, 50), 'b': _normal(rng, 50, 50),
            'c': _normal(rng, 50, 2)}  # fmt: skip
  layers = units.chain(params, list('abc'))
  ones = fixed(a=[1.0] * 50, b=[1.0] + [0.0] * 49)
  later = jax.tree.map(lambda x: 5 * x, params)
  zeros = jax.tree.map(jnp.zeros_like, params)

  def draws(**more):
    tx = units.recycle(optax.identity(), layers, ones, **more)
    state, drawn = tx.init(params), []
    for _ in range(2):
      updates, state = jax.jit(tx.update)(zeros, state, later)
      drawn.append(later['a'] + updates['a'])
    return drawn

  first, second = draws()
  assert first.std() == pytest.approx(0.3, rel=0.05)
  assert first.mean() == pytest.approx(0.0, abs=0.01)
  assert (first != second).all()
  np.testing.assert_array_equal(first, draws(key=jax.random.key(0))[0])
  assert (first != draws(key=1)[0]).all()
  # By a mapping: only that layer has another initializer.
  constant = lambda key, shape, dtype: jnp.full(shape, 7.0, dtype)
  np.testing.assert_allclose(first, draws(init={'b': constant})[0], rtol=1e-6)
  np.testing.assert_allclose(draws(init={'a': constant})[0], 7.0, rtol=1e-6)
  he = draws(init=jax.nn.initializers.he_uniform())[0]
  assert abs(he).max() <= np.sqrt(6 / 200) + 1e-6


# Moments.


@pytest.mark.slow
def test_moments_of_recycled_elements_begin_anew_and_anchors_move():
  params, layers, *_ = _problem()
  g = networks.mlp_params(1)  # Nowhere 0.
  inner = optax.chain(
    mechanisms.regenerate(0.1), optax.scale_by_adam(), optax.scale(-0.1)
  )
  tx = units.recycle(inner, layers, fixed(a=A, b=[0.5] * 5))
  updates, state = jax.jit(tx.update)(g, tx.init(params), params)
  after = optax.apply_updates(params, updates)
  mu = optax.tree.get(state, 'mu')
  whole = np.asarray(A) == 1
  for kept, mask in (
    (mu['a']['kernel'], np.tile(whole, (4, 1))), (mu['a']['bias'], whole),
    (mu['b']['kernel'], np.tile(whole[:, None], (1, 5))),
  ):  # fmt: skip
    np.testing.assert_array_equal(np.asarray(kept) == 0, mask)
  anchor = optax.tree.get(state, 'anchor')
  np.testing.assert_array_equal(
    anchor['a']['kernel'][:, whole], after['a']['kernel'][:, whole]
  )
  np.testing.assert_array_equal(
    anchor['a']['kernel'][:, ~whole], params['a']['kernel'][:, ~whole]
  )
  assert optax.tree.get(state, 'count', filtering=_is_adams) == 1
  for more in (
    dict(moments=False),
    dict(rule=units.CalibratedPartial(rate=1.0)),
  ):
    rule = more.pop('rule', fixed(a=A))
    tx = units.recycle(inner, layers, rule, every=1, **more)
    _, state = tx.update(g, tx.init(params), params)
    assert optax.tree.get(state, 'mu')['a']['kernel'].any(0).all()


def _is_adams(path, value):
  del value
  return getattr(path[-1], 'tuple_name', None) == 'ScaleByAdamState'


# What it wraps, and what wraps it.


@pytest.mark.parametrize(
  'make',
  [
    lambda: optax.adamw(0.1),
    lambda: neuroplastic_optimizer(0.1),
    lambda: optax.contrib.muon(0.1),
    lambda: optax.contrib.schedule_free_sgd(0.1),
    lambda: optax.inject_hyperparams(optax.adam)(0.1),
    lambda: optax.chain(units.scale_by_adam(), optax.scale(-0.1)),
  ],
)
def test_around_other_optimizers(make):
  params, layers, g, h = _problem()
  tx = units.recycle(make(), layers, units.Redo(0.5), every=1)
  step = jax.jit(tx.update)
  state = tx.init(params)
  for _ in range(2):
    updates, after = step(g, state, params, activations=h)
    assert types_of(after) == types_of(state)
    state = after
  assert sum(units.recycled(state).values()) > 0
  chex.assert_tree_all_finite((updates, state))


@pytest.mark.slow
def test_within_other_transformations():
  params, layers, g, _ = _problem()
  rule = fixed(a=A)
  tx = units.recycle(optax.sgd(0.1), layers, rule)
  expected, _ = tx.update(g, tx.init(params), params)
  net = params | {'rest': jnp.ones(3)}
  g_net = g | {'rest': jnp.ones(3)}
  inside = jax.tree.map(lambda _: True, params) | {'rest': False}
  labels = jax.tree.map(lambda x: 'ours' if x else 'rest', inside)

  def injected(rate):
    return units.recycle(optax.sgd(rate), layers, rule)

  for outer in (
    optax.masked(tx, inside),
    optax.partition({'ours': tx, 'rest': optax.sgd(1.0)}, labels),
    optax.inject_hyperparams(injected)(rate=0.1),
    optax.MultiSteps(tx, 1),
    optax.apply_if_finite(tx, 3),
    units.recycle(optax.inject_hyperparams(optax.sgd)(0.1), layers, rule),
  ):
    updates, state = outer.update(g_net, outer.init(net), net)
    updates.pop('rest')
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)
    np.testing.assert_allclose(units.recycled(state)['a'], 1 / 3)
  part = optax.masked(tx, inside | {'b': False})
  with pytest.raises(ValueError, match="'b/kernel'.*put units.recycle around"):
    part.init(net)


def test_frozen_leaves_are_recycled_all_the_same():
  params, layers, g, _ = _problem()
  tx = units.recycle(optax.set_to_zero(), layers, fixed(a=A))
  updates, _ = tx.update(g, tx.init(params), params)
  assert updates['a']['kernel'][:, 0].all()
  assert not updates['a']['kernel'][:, 1].any()


def test_one_within_another():
  params, layers, g, h = _problem()
  inner = units.recycle(optax.sgd(0.1), layers[:1], units.Redo(0.5), 1)
  tx = units.recycle(inner, layers[1:], units.Redo(0.5), 1)
  _, state = tx.update(g, tx.init(params), params, activations=h)
  assert units.recycled(state.inner).keys() == {'a'}
  with pytest.raises(ValueError, match='holds 0'):
    units.recycled(optax.sgd(0.1).init(params))


def test_updates_are_as_wide_as_the_params():
  params, layers, g, _ = _problem()
  narrow = jax.tree.map(lambda x: x.astype('bfloat16'), g)
  tx = units.recycle(optax.sgd(0.1), layers, fixed(a=A))
  updates, _ = tx.update(narrow, tx.init(params), params)
  assert updates['a']['kernel'].dtype == jnp.float32
  # But for the leaf of no layer.
  assert updates['c']['bias'].dtype == jnp.bfloat16
  half = jax.tree.map(lambda x: x.astype('bfloat16'), params)
  updates, state = tx.update(narrow, tx.init(half), half)
  assert {str(u.dtype) for u in jax.tree.leaves(updates)} == {'bfloat16'}
  assert state.total['a'].dtype == jnp.float32


# JAX.


def _run(tx, params, xs):
  """The params and the state after the batches, in one loop."""

  def step(carry, x):
    params, state = carry
    g, h = networks.gradient(params, x)
    updates, state = tx.update(g, state, params, activations=h)
    return (optax.apply_updates(params, updates), state), None

  return jax.lax.scan(step, (params, tx.init(params)), jnp.stack(xs))[0]


RULES = {
  'redo': units.Redo(0.3),
  'backprop': units.ContinualBackprop(0.05, 2, 0.9),
  'normalized': units.SelfNormalized(0.5, 12, 3, 5),
  'partial': units.CalibratedPartial(0.5),
  'random': units.RandomUnits(0.05),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', RULES)
def test_lanes_equal_a_loop(name):
  """Of networks, keys and hyperparameters, some of which recycle at a time."""
  xs = networks.batches(6, n=2)
  lanes = [networks.mlp_params(seed) for seed in range(3)]
  layers = networks.mlp_layers(lanes[0])
  every = 1 if name in ('backprop', 'normalized', 'random') else 2

  def one(params, key):
    adam = optax.chain(units.scale_by_adam(), optax.scale(-0.1))
    tx = units.recycle(adam, layers, RULES[name], every, key=key)
    return _run(tx, params, xs)

  keys = jax.random.split(jax.random.key(0), 3)
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
  params, state = jax.jit(jax.vmap(one))(stacked, keys)
  alone = jax.jit(one)
  for i, (lane, key) in enumerate(zip(lanes, keys, strict=True)):
    actual = jax.tree.map(lambda x, i=i: x[i], (params, state))
    chex.assert_trees_all_close(actual, alone(lane, key), rtol=1e-3, atol=1e-4)
  assert sum(x.sum() for x in units.recycled(state).values()) > 0


@pytest.mark.slow
def test_rules_are_built_inside_vmap():
  params, layers, g, h = _problem()

  def share(threshold):
    tx = units.recycle(optax.sgd(0.1), layers, units.Redo(threshold), 1)
    return tx.update(g, tx.init(params), params, activations=h)[1].share['a']

  actual = jax.vmap(share)(jnp.array([0.0, 0.5, 10.0]))
  np.testing.assert_array_equal(actual, [share(x) for x in (0.0, 0.5, 10.0)])
  assert actual[2].all()


def test_a_schedule_of_the_threshold():
  params, layers, g, h = _problem()
  rule = units.Redo(lambda count: jnp.where(count < 1, 0.0, 10.0))
  tx = units.recycle(optax.sgd(0.1), layers, rule, every=1)
  state, seen = tx.init(params), []
  for _ in range(2):
    _, state = tx.update(g, state, params, activations=h)
    seen.append(float(state.share['b'].sum()))
  assert seen[0] < seen[1] == 5


# Errors.


def test_errors_name_what_is_wrong():
  params, layers, g, h = _problem()
  sgd, redo = optax.sgd(0.1), units.Redo()
  tx = units.recycle(sgd, layers, redo)
  state = tx.init(params)
  wrong = h | {'b': h['b'][:, :2]}
  for make, message in (
    (lambda: units.recycle(sgd, layers, 'redo'), 'rule must be a units.Rule'),
    (lambda: units.recycle(sgd, layers, redo, 0), 'every must be an integer'),
    (lambda: units.recycle(sgd, layers, redo, init=1.0), 'init must be a call'),
    (lambda: units.recycle(sgd, layers, redo, init={'x': None}), "got 'x'"),
    (lambda: units.recycle(sgd, layers * 2, redo), "two layers are called 'a'"),
    (lambda: units.recycle(sgd, 'ab', redo), 'must be a sequence of units.L'),
    (lambda: units.recycle(sgd, layers, redo, axis_name=1), 'axis_name must'),
    (lambda: tx.update(g, state), 'needs the params'),
    (lambda: tx.update(g, state, params), "activations of layer 'a'"),
    (lambda: tx.update(g, state, params, activations=wrong), r'\[..., 5\]'),
    (lambda: tx.init({'a': params['a']}), "no leaf 'b/kernel'"),
  ):
    with pytest.raises((TypeError, ValueError), match=message):
      make()
