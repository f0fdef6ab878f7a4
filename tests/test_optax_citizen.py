"""Whatever works with an Optax optimizer works with this one.

First Optax's own conformance tests, then JAX's transformations, dtypes and
extreme numbers, odd trees, Optax's wrappers, Flax and Orbax.
"""

import ast
import functools
import importlib.util
import os
import re

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

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import NeuroplasticState
from neuroplastic_optax import schedules

# Optax's own conformance tests.
#
# They ship in the wheel, each a module whose list of optimizers is bound by
# decorators while it is imported. So the source is compiled anew with our list
# in place of theirs, and only what runs over that list is kept.

# Rosenbrock's valley is long for steps of norm 1 at most, and steep at its
# sides: this many units of 1e-3 reach its end in 10,000 steps and stay there.
RATE = 2.5e-3
VARIANTS = {
  'default': dict(learning_rate=RATE),
  'gradient_only': dict(learning_rate=RATE, gradient_only=True),
  'decay_and_state_dtype': dict(
    learning_rate=RATE, weight_decay=1e-4, state_dtype='bfloat16'
  ),
  'momentum_and_schedule': dict(
    learning_rate=1e-3,
    base=optax.trace(0.9),
    plasticity_scale=schedules.epoch_warmup(2.0, 2, 100),
    weight_decay=1e-4,
    decoupled_weight_decay=True,
  ),
}
_ENTRIES = tuple(
  {'opt_name': name, 'opt_kwargs': kwargs} for name, kwargs in VARIANTS.items()
)
_WRAPPED_ENTRIES = tuple(
  entry | {'wrapper_name': None, 'wrapper_kwargs': None} for entry in _ENTRIES
)


def _bound_names(node):
  """The names that a statement at the top of a module binds."""
  if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
    return {node.name}
  if isinstance(node, (ast.Assign, ast.AugAssign)):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}
  return set()


class _NoVersionChecks(ast.NodeTransformer):
  """Drops `if jax.__version__ < …`, in which '0.10.2' is less than '0.7.2'."""

  def visit_If(self, node):
    return None if 'jax.__version__' in ast.unparse(node.test) else node


def _load_conformance(module, case, pinned, drop=()):
  """A test case of an Optax test module, over our optimizers.

  Args:
    module: the module's name.
    case: the name of its `TestCase`.
    pinned: what names of the module are to be, instead of what it binds.
    drop: tests that are not over the list of optimizers, or repeated.

  Returns:
    The class. It has no test but those over our optimizers.
  """
  path = importlib.util.find_spec(module).origin
  with open(path, encoding='utf-8') as file:
    tree = ast.parse(file.read(), path)
  bound = set().union(*map(_bound_names, tree.body))
  missing = (set(pinned) | {case}) - bound
  assert not missing, f'{module} no longer has {missing}'
  tree.body = [n for n in tree.body if not _bound_names(n) & set(pinned)]
  tree = _NoVersionChecks().visit(tree)
  namespace = {'__name__': f'{__name__}.{case}', '__file__': path} | pinned
  environment = dict(os.environ)
  try:
    exec(compile(tree, path, 'exec'), namespace)
  finally:
    # The module on sharding sets XLA_FLAGS; it is too late for this process
    # and no business of the next.
    os.environ.clear()
    os.environ.update(environment)
  test_case = namespace[case]
  test_case.__module__ = __name__
  # What is skipped there, is so for other optimizers or an older JAX.
  test_case.skipTest = lambda self, reason: self.fail(f'skipped: {reason}')
  for name in _test_names(test_case):
    if _family(name) in drop:
      delattr(test_case, name)
    elif _family(name) in ('test_optimization', 'test_optimizers'):
      # Tens of thousands of updates.
      pytest.mark.slow(getattr(test_case, name))
  return test_case


def _test_names(test_case):
  return [name for name in dir(test_case) if name.startswith('test')]


def _family(name):
  """The name of a test as written, without what its parameters add."""
  stem = re.fullmatch(r'(test_\w*?)(_?\d+)?', name).group(1)
  for variant in VARIANTS:
    stem = stem.removesuffix(f'_{variant}')
  return stem


_factory = lambda *_: neuroplastic_optimizer

AliasTest = _load_conformance(
  'optax._src.alias_test',
  'AliasTest',
  {'_OPTIMIZERS_UNDER_TEST': _ENTRIES, '_get_opt': _factory},
  drop={'test_explicit_dtype'},
)
ContribTest = _load_conformance(
  'optax.contrib._common_test',
  'ContribTest',
  {
    '_MAIN_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_OTHER_OPTIMIZERS_UNDER_TEST': (),
    '_ALL_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_get_opt_factory': _factory,
  },
  # The same as in the other module, but for fewer dtypes.
  drop={
    'test_gradient_accumulation',
    'test_preserve_dtype',
    'test_state_shape_dtype_shard_stability',
  },
)
ShardingTest = _load_conformance(
  'optax._src.sharding_test',
  'ShardingTest',
  {
    'OPTIMIZERS': {
      name: neuroplastic_optimizer(**kwargs)
      for name, kwargs in VARIANTS.items()
    }
  },
  drop={
    'test_microbatch_with_explicit_sharding_replicated',
    'test_microbatch_with_explicit_sharding_sharded',
  },
)

CONFORMANCE = {
  AliasTest: {
    'test_gradient_accumulation',
    'test_optimization',
    'test_optimizers_accept_extra_args',
    'test_optimizers_can_be_wrapped_in_inject_hyperparams',
    'test_preserve_dtype',
    'test_state_shape_dtype_shard_stability',
  },
  ContribTest: {
    'test_optimizers',
    'test_optimizers_accept_extra_args',
    'test_optimizers_accept_learning_rate_schedule_if_type_annotated_as_such',
    'test_optimizers_can_be_wrapped_in_inject_hyperparams',
  },
  ShardingTest: {
    'test_init_with_abstract_input',
    'test_state_sharding_type_init_match_update',
    'test_state_sharding_type_preserved_with_jit',
  },
}


@pytest.mark.parametrize('test_case', CONFORMANCE, ids=lambda c: c.__name__)
def test_conformance_covers_every_variant(test_case):
  counts = {}
  for name in _test_names(test_case):
    counts[_family(name)] = counts.get(_family(name), 0) + 1
  assert counts.keys() >= CONFORMANCE[test_case]
  assert all(count % len(VARIANTS) == 0 for count in counts.values()), counts


def test_there_are_devices_to_shard_over():
  assert jax.device_count() >= 8 or jax.default_backend() != 'cpu'


# What follows has a small problem of its own.

FLOATS = ('float16', 'bfloat16', 'float32', 'float64')
SETTINGS = {
  'default': {},
  'gradient_only': dict(gradient_only=True),
  'adam': dict(base=optax.scale_by_adam(), weight_decay=0.01),
}
every_setting = pytest.mark.parametrize(
  'settings', SETTINGS.values(), ids=SETTINGS
)
every_float = pytest.mark.parametrize('dtype', FLOATS)


@pytest.fixture(autouse=True)
def _precision(request):
  """64-bit mode for tests of a 64-bit dtype."""
  callspec = getattr(request.node, 'callspec', None)
  dtype = callspec.params.get('dtype') if callspec else None
  if dtype in ('float64', 'complex128'):
    with jax.enable_x64(True):
      yield
  else:
    yield


def _tree(seed, dtype='float32'):
  """A tree of random leaves, one of them 0-d."""
  rng = np.random.default_rng(seed)

  def leaf(*shape):
    x = rng.normal(size=shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
      x = x + 1j * rng.normal(size=shape)
    return jnp.asarray(x, dtype)

  return {'dense': {'kernel': leaf(3, 4), 'bias': leaf(4)}, 'scale': leaf()}


def _trees(count, dtype='float32'):
  return [_tree(seed + 1, dtype) for seed in range(count)]


def _run(tx, params, gradients, state=None, compiled=False):
  """Params and state after one update for each of the gradients."""

  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  # Operation by operation is faster: those of one test are compiled for all.
  step = jax.jit(step) if compiled else step
  state = tx.init(params) if state is None else state
  for gradient in gradients:
    params, state = step(params, state, gradient)
  return params, state


def _types(tree):
  """Shape, dtype and weak type of every leaf."""
  return jax.tree.map(jax.typeof, tree)


def _stack(trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


# JAX's transformations.


class VariantsTest(chex.TestCase):
  """Compiled or not, on the device or from the host: one result."""

  @chex.all_variants(with_pmap=False)
  def test_init_and_update(self):
    tx = neuroplastic_optimizer(0.1, weight_decay=0.01)
    params, (gradient,) = _tree(0), _trees(1)
    state = self.variant(tx.init)(params)
    chex.assert_trees_all_equal(state, tx.init(params))
    actual = self.variant(tx.update)(gradient, state, params)
    expected = tx.update(gradient, state, params)
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-8)


@every_setting
def test_vmap_over_members_equals_a_loop(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  members, gradients = _trees(3), _trees(4)

  def train(params):
    state = tx.init(params)
    for gradient in gradients:
      updates, state = tx.update(gradient, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  together = jax.jit(jax.vmap(train))(_stack(members))
  alone = [jax.jit(train)(params) for params in members]
  # Adam's bias correction rounds according to how it was compiled.
  chex.assert_trees_all_close(together, _stack(alone), rtol=2e-5, atol=1e-6)


@every_setting
def test_scan_equals_a_loop(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = _tree(0), _trees(5)

  def step(carry, gradient):
    params, state = carry
    updates, state = tx.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), None

  scan = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs)[0])
  actual = scan((params, tx.init(params)), _stack(gradients))
  expected = _run(tx, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=2e-5, atol=1e-6)


@every_setting
def test_update_and_no_update_are_branches_of_one_type(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradient = _tree(0), _tree(1)
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
  assert optax.tree.get(after, 'count', filtering=_ours) == 1
  assert all(jnp.any(u) for u in jax.tree.leaves(updates))


def _ours(path, value):
  """Whether a field found by `optax.tree.get` is of `NeuroplasticState`."""
  del value
  return getattr(path[-1], 'tuple_name', None) == NeuroplasticState.__name__


# Donated, a leaf's buffer must find a use; a warning that it has none is an
# error here.
@every_setting
def test_donated_params_and_state(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = _tree(0), _trees(3)
  expected = _run(tx, params, gradients, compiled=True)

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
  params = _tree(0, dtype)
  state = tx.init(params)
  abstract = jax.eval_shape(lambda: params)
  assert _types(jax.eval_shape(tx.init, abstract)) == _types(state)
  # Given shapes for params, Optax makes a state all the same.
  chex.assert_trees_all_equal(tx.init(abstract), state)
  shapes = jax.eval_shape(tx.update, abstract, state, abstract)
  assert _types(shapes) == _types(tx.update(params, state, params))


@every_setting
def test_one_compilation_for_any_number_of_updates(settings):
  tx = neuroplastic_optimizer(
    optax.linear_schedule(0.1, 0.0, 10),
    plasticity_scale=optax.linear_schedule(0.0, 2.0, 5),
    **settings,
  )
  traces = 0

  @jax.jit
  def step(params, state, gradient):
    nonlocal traces
    traces += 1
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  params = _tree(0)
  state = tx.init(params)
  for gradient in _trees(12):
    params, state = step(params, state, gradient)
  assert traces == 1
  assert step._cache_size() == 1


def test_sharded_tensors_are_still_whole_tensors():
  mesh = jax.make_mesh((8,), ('x',))
  shard = jax.sharding.NamedSharding(mesh, jax.P('x'))
  rng = np.random.default_rng(0)
  # Magnitudes that differ from shard to shard, so that statistics do.
  array = lambda: (
    jnp.asarray(rng.normal(size=(8, 3)), 'float32')
    * (10.0 ** jnp.linspace(-2, 1, 8)[:, None])
  )
  tx = neuroplastic_optimizer(0.1, weight_decay=0.01)
  params, gradients = array(), [array() for _ in range(3)]
  expected = _run(tx, params, gradients)
  actual = _run(
    tx,
    jax.device_put(params, shard),
    jax.device_put(gradients, shard),
    compiled=True,
  )
  chex.assert_trees_all_close(actual, expected, rtol=1e-5)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    moment = optax.tree.get(actual[1], name)
    assert moment.sharding.is_equivalent_to(shard, moment.ndim)


# Dtypes and extreme numbers.


@every_float
@every_setting
def test_state_and_updates_keep_their_types(settings, dtype):
  tx = neuroplastic_optimizer(jnp.float32(0.1), **settings)
  weak = jnp.asarray(1.0)
  assert jax.typeof(weak).weak_type
  params = {'strong': jnp.ones((2, 3), dtype), 'weak': weak}
  state = tx.init(params)
  base = settings.get('base', optax.identity())
  base_state = base.init(params)
  expected = base.update(params, base_state, params)
  assert not any(x.weak_type for x in jax.tree.leaves(_types(state[0][1:4])))
  for update in (tx.update, jax.jit(tx.update)):
    updates, after = update(params, state, params)
    # Adam's updates are never weak, and its moments not for long.
    ours = after[0]
    assert _types((updates, ours.base)) == _types(expected)
    after = (ours._replace(base=state[0].base), *after[1:])
    assert _types(after) == _types(state)


@every_float
def test_moments_have_the_dtype_of_the_params(dtype):
  state = neuroplastic().init(_tree(0, dtype))
  moments = state.activity, state.memory_mu, state.memory_nu
  assert {x.dtype.name for x in jax.tree.leaves(moments)} == {dtype}


@pytest.mark.parametrize('state_dtype', FLOATS)
@pytest.mark.parametrize('dtype', ['bfloat16', 'complex128'])
def test_moments_have_the_state_dtype(state_dtype, dtype):
  del dtype  # 64-bit mode or not.
  if not jax.config.jax_enable_x64 and state_dtype == 'float64':
    with pytest.raises(ValueError, match=r'state_dtype=float64 .*64-bit'):
      neuroplastic(state_dtype=state_dtype)
    return
  params = {
    'real': jnp.ones(3, 'bfloat16'),
    'complex': jnp.ones(3, 'complex64'),
  }
  tx = neuroplastic(state_dtype=state_dtype)
  state = tx.init(params)
  _, state = jax.jit(tx.update)(params, state)
  complex_dtype = 'complex128' if state_dtype == 'float64' else 'complex64'
  assert jax.tree.map(lambda x: x.dtype.name, state.memory_mu) == {
    'real': state_dtype, 'complex': complex_dtype,
  }  # fmt: skip
  for moment in (state.activity, state.memory_nu):
    assert {x.dtype.name for x in jax.tree.leaves(moment)} == {state_dtype}


@pytest.mark.parametrize(
  ('b2', 'kept'), [(0.99, 'bfloat16'), (0.992, 'bfloat16'), (0.993, 'float32')]
)
def test_a_moment_whose_steps_would_be_lost_is_kept_in_float32(b2, kept):
  tx = neuroplastic(state_dtype='bfloat16', memory_b2=b2)
  gradient = jnp.arange(1.0, 9.0)
  state = tx.init(gradient)
  assert state.memory_nu.dtype == kept
  assert state.activity.dtype == state.memory_mu.dtype == 'bfloat16'
  update = jax.jit(tx.update)
  for scale in [10.0] * 300 + [0.01] * 600:
    _, state = update(scale * gradient, state)
  assert state.memory_nu.dtype == kept
  # It falls, if not to where it should: by (1-β)·v less than half a spacing.
  assert jnp.all(state.memory_nu < 0.5 * (10 * gradient) ** 2)


def test_low_precision_moments_are_hardly_biased():
  """Over hundreds of noisy updates, against the same in float32."""
  n = 4000
  spread = jnp.exp(jax.random.normal(jax.random.key(1), (n,)))

  def run(state_dtype):
    tx = neuroplastic(state_dtype=state_dtype, homeostasis=None)

    def step(state, i):
      key = jax.random.fold_in(jax.random.key(0), i)
      gradient = spread * jax.random.normal(key, (n,))
      updates, state = tx.update(gradient, state)
      return state, updates / gradient

    state, alpha = jax.lax.scan(step, tx.init(spread), jnp.arange(300))
    return state.activity, state.memory_nu, alpha[-1]

  (a, v, alpha), (a32, v32, alpha32) = (
    [np.asarray(x, np.float64) for x in jax.jit(run, static_argnums=0)(dtype)]
    for dtype in ('bfloat16', 'float32')
  )
  assert abs(np.mean(a / a32) - 1) < 0.002
  assert abs(np.mean(v / v32) - 1) < 0.02
  assert abs(np.mean(alpha) - np.mean(alpha32)) < 0.001
  assert np.sqrt(np.mean((alpha - alpha32) ** 2)) < 0.02 * np.std(alpha32)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@every_setting
def test_arithmetic_is_in_float32(settings, dtype):
  # Of gradients and moments that a low dtype can hold, only the last step,
  # the rounding of the result, may differ from float32.
  if 'base' in settings:
    settings = dict(weight_decay=0.01, homeostasis=Homeostasis(0.5))
  tx = neuroplastic(state_dtype='float32', **settings)
  params, gradients = _tree(0, dtype), _trees(4, dtype)
  wide = functools.partial(optax.tree.cast, dtype='float32')
  state, wide_state = tx.init(params), tx.init(wide(params))
  for gradient in gradients:
    updates, state = tx.update(gradient, state, params)
    expected, wide_state = tx.update(wide(gradient), wide_state, wide(params))
    chex.assert_trees_all_equal(updates, optax.tree.cast(expected, dtype))
    chex.assert_trees_all_equal(state, wide_state)


def test_a_learning_rate_is_not_rounded_to_the_dtype_of_the_params():
  rate, gradient = 0.1, jnp.linspace(1, 2, 129, dtype='bfloat16')
  expected = (-rate * gradient.astype('float32')).astype('bfloat16')
  assert jnp.any(expected != -jnp.bfloat16(rate) * gradient)
  for given in (rate, jnp.float32(rate), optax.constant_schedule(rate)):
    tx = neuroplastic_optimizer(
      given, min_alpha=1.0, max_alpha=1.0, homeostasis=None
    )
    updates, _ = tx.update(gradient, tx.init(gradient))
    chex.assert_trees_all_equal(updates, expected)


MAGNITUDES = {
  'zero': 0.0,
  'tiny': 1e-30,
  'small': 1e-8,
  'ordinary': 1.0,
  'huge': 1e30,
}


def _filled(params, magnitude, *, sparse):
  """Gradients of a magnitude, as far as the params' dtype goes."""

  def leaf(x):
    limits = jnp.finfo(x.dtype)
    low, high = float(limits.smallest_subnormal), float(limits.max)
    signs = np.where(np.arange(x.size) % 2, -1.0, 0.7)
    if sparse:
      signs[1:] = 0.0
    value = np.clip(magnitude, low, high) if magnitude else 0.0
    return (signs * value).reshape(x.shape).astype(x.dtype)

  return jax.tree.map(leaf, params)


# Not over a base: in float16 the moments of Adam and the trace overflow.
@every_float
@pytest.mark.parametrize(
  'settings',
  [
    {},
    dict(gradient_only=True, weight_decay=0.01),
    dict(homeostasis=None),
    dict(homeostasis=None, parameterwise=False),
    dict(homeostasis=Homeostasis(max_update_norm=None)),
  ],
)
def test_no_gradient_makes_nan_or_infinity(settings, dtype):
  tx = neuroplastic(**settings)
  params = _tree(0, dtype)
  update = jax.jit(tx.update)
  orders = [[name] * 3 for name in MAGNITUDES]
  orders += [list(MAGNITUDES), list(reversed(MAGNITUDES))]
  for sparse in (False, True):
    for order in orders:
      state = tx.init(params)
      for name in order:
        gradient = _filled(params, MAGNITUDES[name], sparse=sparse)
        updates, state = update(gradient, state, params)
        chex.assert_tree_all_finite((updates, state))


@every_float
@pytest.mark.parametrize('diagnostics', [None, 'global'])
@pytest.mark.parametrize('room', [1, 4])
def test_homeostasis_bounds_gradients_whose_squares_overflow(
  room, diagnostics, dtype
):
  # All the dtype has, with room for α ≤ 2 or without.
  magnitude = float(jnp.finfo(dtype).max) / room
  tx = neuroplastic(diagnostics=diagnostics)
  params = _tree(0, dtype)
  state = tx.init(params)
  for sparse in (False, True):
    gradient = _filled(params, magnitude, sparse=sparse)
    updates, state = tx.update(gradient, state)
    chex.assert_tree_all_finite((updates, state._replace(diagnostics=None)))
    if diagnostics:
      assert jnp.isfinite(get_diagnostics(state)['update_norm'])


def test_not_a_number_is_not_hidden_by_homeostasis():
  tx = neuroplastic()
  for bad in (jnp.nan, jnp.inf):
    gradient = jnp.array([bad, 1.0, 3e38])
    updates, _ = tx.update(gradient, tx.init(gradient))
    assert not jnp.all(jnp.isfinite(updates))


@pytest.mark.parametrize('size', [2**31 - 1, 2**31, 2**34])
def test_a_leaf_may_have_more_elements_than_int32_counts(size):
  tx = neuroplastic(weight_decay=0.1, diagnostics='global')
  params = jax.ShapeDtypeStruct((size // 2**10, 2**10), jnp.bfloat16)
  state = jax.eval_shape(tx.init, params)
  updates, _ = jax.eval_shape(tx.update, params, state, params)
  assert updates.shape == params.shape


def test_memory_outlives_its_second_moment():
  # A state in which v vanished where m did not: |m| / ε is beyond float32.
  tx = neuroplastic(eps=2e-38, homeostasis=None)
  gradient = jnp.array([100.0, -50.0])
  state = tx.init(gradient)._replace(memory_mu=gradient)
  for g in (0 * gradient, gradient):
    updates, state = tx.update(g, state)
    chex.assert_tree_all_finite((updates, state))


@pytest.mark.parametrize('dtype', ['complex64', 'complex128'])
@pytest.mark.parametrize('settings', [{}, SETTINGS['adam']])
def test_complex_numbers(settings, dtype):
  tx = neuroplastic(**settings)
  params, gradient = _tree(0, dtype), _tree(1, dtype)
  turn = jnp.asarray(np.exp(1j), dtype)
  turned = functools.partial(jax.tree.map, lambda x: x * turn)
  state = tx.init(params)
  assert all(jnp.isrealobj(x) for x in jax.tree.leaves(state.activity))
  updates, after = tx.update(gradient, state, params)
  assert _types(updates) == _types(gradient)
  assert _types(after) == _types(state)
  # Moduli make the signals: what is turned stays turned.
  actual, _ = tx.update(turned(gradient), state, turned(params))
  chex.assert_trees_all_close(actual, turned(updates), rtol=1e-5)


@pytest.mark.parametrize('settings', [{}, SETTINGS['adam']])
def test_complex_numbers_without_imaginary_part_are_real(settings):
  tx = neuroplastic(**settings)
  params, gradients = _tree(0), _trees(3)
  lift = functools.partial(jax.tree.map, lambda x: x.astype('complex64'))
  actual, _ = _run(tx, lift(params), lift(gradients))
  expected, _ = _run(tx, params, gradients)
  chex.assert_trees_all_close(actual, lift(expected), rtol=1e-5, atol=1e-6)


# Odd trees.


@every_setting
@pytest.mark.parametrize('tree', [{}, (), {'a': None, 'b': ()}])
def test_empty_trees(settings, tree):
  tx = neuroplastic_optimizer(0.1, **settings)
  updates, _ = jax.jit(tx.update)(tree, tx.init(tree), tree)
  assert updates == tree


@every_setting
@pytest.mark.parametrize('hole', [None, optax.MaskedNode()])
def test_holes_in_the_tree_stay_holes(settings, hole):
  tx = neuroplastic_optimizer(0.1, **settings)
  with_hole = lambda tree: {'hole': hole, 'rest': tree}
  params, gradients = _tree(0), _trees(3)
  actual, state = _run(tx, with_hole(params), map(with_hole, gradients))
  expected, _ = _run(tx, params, gradients)
  chex.assert_trees_all_equal(actual, with_hole(expected))
  if not settings.get('gradient_only'):
    assert optax.tree.get(state, 'activity')['hole'] == hole


def test_no_tree_at_all():
  tx = neuroplastic_optimizer(0.1)
  updates, _ = jax.jit(tx.update)(None, tx.init(None), None)
  assert updates is None


@pytest.mark.parametrize('name', ['default', 'gradient_only'])
def test_a_missing_gradient_leaves_its_moments_alone(name):
  tx = neuroplastic(**SETTINGS[name])
  params, (gradient, *_) = _tree(0), _trees(1)
  _, state = tx.update(gradient, tx.init(params), params)
  partial = gradient | {'dense': {'kernel': None, 'bias': None}}
  updates, after = tx.update(partial, state, params)
  assert updates['dense'] == {'kernel': None, 'bias': None}
  full, _ = tx.update(gradient, state, params)
  chex.assert_trees_all_equal(updates['scale'], full['scale'])
  if name != 'gradient_only':
    chex.assert_trees_all_equal(
      after.activity['dense'], state.activity['dense']
    )


@every_setting
@pytest.mark.parametrize('shape', [(), (1, 1), (3, 0)])
def test_leaves_of_odd_sizes(settings, shape):
  tx = neuroplastic_optimizer(0.1, **settings)
  params = {'odd': jnp.ones(shape), 'even': jnp.arange(4.0)}
  state = tx.init(params)
  # Not even a NaN that nobody sees, such as the mean of nothing.
  with jax.debug_nans(True):
    updates, after = tx.update(params, state, params)
  assert _types(updates) == _types(params)
  assert _types(after) == _types(state)
  chex.assert_tree_all_finite((updates, after))
  # What is beside a leaf makes no difference to it.
  alone = {'even': params['even']}
  expected, _ = tx.update(alone, tx.init(alone), alone)
  chex.assert_trees_all_close(updates['even'], expected['even'], rtol=1e-6)


# Optax's own tools for trees and states.


@every_setting
def test_map_params(settings):
  settings = settings | dict(
    weight_decay=0.01,
    weight_decay_mask={'dense': True, 'scale': False},
    homeostasis=Homeostasis(target_rms_scale={'dense': 2.0, 'scale': 1.0}),
  )
  tx = neuroplastic_optimizer(optax.constant_schedule(0.1), **settings)
  params = _tree(0)
  _, state = _run(tx, params, _trees(2))
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
  params = _tree(0)
  state = wrap(neuroplastic()).init(params)
  zeros = jax.tree.map(jnp.zeros_like, params)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    chex.assert_trees_all_equal(optax.tree.get(state, name), zeros)
  count = optax.tree.get(state, 'count', filtering=_ours)
  assert (count.shape, count.dtype, count) == ((), jnp.int32, 0)


# inject_hyperparams.

inject = optax.inject_hyperparams(neuroplastic_optimizer)
HYPERPARAMETERS = dict(
  learning_rate=0.1,
  activity_weight=0.5,
  memory_b2=0.999,
  max_alpha=1.5,
  plasticity_scale=2.0,
  weight_decay=0.01,
)


def test_injected_hyperparameters_are_the_hyperparameters():
  params, gradients = _tree(0), _trees(5)
  state = inject(**HYPERPARAMETERS).init(params)
  numbers = {
    'activity_decay', 'activity_weight', 'eps', 'gradient_weight',
    'learning_rate', 'max_alpha', 'memory_b1', 'memory_b2', 'memory_weight',
    'min_alpha', 'plasticity_scale', 'weight_decay',
  }  # fmt: skip
  assert state.hyperparams.keys() >= numbers
  actual, _ = _run(inject(**HYPERPARAMETERS), params, gradients, compiled=True)
  plain = neuroplastic_optimizer(**HYPERPARAMETERS)
  expected, _ = _run(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_injected_hyperparameters_of_low_precision(dtype):
  # Injection rounds every number to the params' dtype: 0.999 to 1 in
  # bfloat16, 1e-8 to 0 in float16. Neither may make a NaN or a standstill.
  params, gradients = _tree(0, dtype), _trees(20, dtype)
  tx = inject(**HYPERPARAMETERS)
  state = tx.init(params)
  for gradient in gradients[:3]:
    updates, state = jax.jit(tx.update)(gradient, state, params)
    assert _types(updates) == _types(gradient)
  _, state = _run(tx, params, gradients)
  chex.assert_tree_all_finite(state)
  for name in ('activity', 'memory_mu', 'memory_nu'):
    moved = optax.tree.get(state, name)
    assert all(jnp.all(x != 0) for x in jax.tree.leaves(moved)), name
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = jax.jit(tx.update)(zero, tx.init(params), zero)
  chex.assert_trees_all_equal(updates, zero)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_injected_hyperparameters_may_have_a_dtype_of_their_own(dtype):
  params, gradients = _tree(0, dtype), _trees(5, dtype)
  wide = optax.inject_hyperparams(
    neuroplastic_optimizer, hyperparam_dtype=jnp.float32
  )
  actual, _ = _run(wide(**HYPERPARAMETERS), params, gradients)
  expected, _ = _run(
    neuroplastic_optimizer(**HYPERPARAMETERS), params, gradients
  )
  chex.assert_trees_all_close(
    actual, expected, rtol=2 * float(jnp.finfo(dtype).eps)
  )


def test_injected_hyperparameters_changed_by_hand():
  params, (gradient, *_) = _tree(0), _trees(1)
  tx = inject(0.1, homeostasis=None)
  update = jax.jit(tx.update)
  state = tx.init(params)
  before, _ = update(gradient, state, params)
  state.hyperparams['learning_rate'] *= 2
  after, state = update(gradient, state, params)
  chex.assert_trees_all_equal(after, jax.tree.map(lambda u: 2 * u, before))
  for name in ('min_alpha', 'max_alpha'):
    state.hyperparams[name] = jnp.float32(1)
  after, _ = update(gradient, state, params)
  sgd = jax.tree.map(lambda g: -0.2 * g, gradient)
  chex.assert_trees_all_close(after, sgd, rtol=1e-6)


@pytest.mark.parametrize('name', ['learning_rate', 'plasticity_scale'])
def test_injected_schedules_are_the_schedules(name):
  params, gradients = _tree(0), _trees(5)
  arguments = HYPERPARAMETERS | {name: optax.linear_schedule(0.0, 2.0, 4)}
  actual, state = _run(inject(**arguments), params, gradients)
  plain = neuroplastic_optimizer(**arguments)
  expected, _ = _run(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)
  assert state.hyperparams[name] == 2.0


def _is_matrix(params):
  return jax.tree.map(lambda x: jnp.ndim(x) > 1, params)


def test_an_injected_mask_function_is_refused():
  tx = inject(0.1, weight_decay=0.1, weight_decay_mask=_is_matrix)
  with pytest.raises(TypeError, match="static_args='weight_decay_mask'"):
    tx.init(_tree(0))


def test_a_static_mask_function_works_injected():
  arguments = dict(
    learning_rate=0.1, weight_decay=0.1, weight_decay_mask=_is_matrix
  )
  with_mask = optax.inject_hyperparams(
    neuroplastic_optimizer, static_args='weight_decay_mask'
  )
  params, gradients = _tree(0), _trees(3)
  actual, _ = _run(with_mask(**arguments), params, gradients)
  plain = neuroplastic_optimizer(**arguments)
  expected, _ = _run(plain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


# Other wrappers.


@every_setting
def test_multi_steps_accumulates(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = _tree(0), _trees(4)
  # Pairs of equal gradients: their mean is exact.
  doubled = [gradient for gradient in gradients for _ in range(2)]
  actual, state = _run(optax.MultiSteps(tx, 2), params, doubled, compiled=True)
  expected = _run(tx, params, gradients)
  chex.assert_trees_all_close(
    (actual, state.inner_opt_state), expected, rtol=2e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  ('poison', 'settings'),
  [
    (np.nan, {}),
    (np.inf, {}),
    (np.nan, SETTINGS['gradient_only']),
    (np.nan, SETTINGS['adam']),
  ],
)
def test_apply_if_finite_leaves_no_trace_of_a_bad_step(poison, settings):
  tx = optax.apply_if_finite(neuroplastic_optimizer(0.1, **settings), 3)
  params, gradients = _tree(0), _trees(4)
  bad = gradients[0] | {'scale': jnp.float32(poison)}
  run = functools.partial(_run, tx, params, compiled=True)
  good = run(gradients)
  actual = run([*gradients[:2], bad, *gradients[2:]])
  chex.assert_trees_all_equal(actual[0], good[0])
  chex.assert_trees_all_equal(actual[1].inner_state, good[1].inner_state)
  assert actual[1].total_notfinite == 1


@every_setting
def test_masked(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  mask = {'dense': {'kernel': True, 'bias': False}, 'scale': False}
  params, gradients = _tree(0), _trees(3)
  actual, _ = _run(optax.masked(tx, mask), params, gradients)
  kernel = lambda tree: {'kernel': tree['dense']['kernel']}
  expected, _ = _run(tx, kernel(params), map(kernel, gradients))
  chex.assert_trees_all_equal(actual['dense']['kernel'], expected['kernel'])


# The mask of the decay is as large as the params, of which `masked` shows a
# part.
def test_masked_with_a_mask_inside():
  tx = neuroplastic_optimizer(
    0.1,
    weight_decay=0.1,
    weight_decay_mask={
      'dense': {'kernel': True, 'bias': False},
      'scale': True,
    },
  )
  outer = {'dense': True, 'scale': False}
  params, gradients = _tree(0), _trees(3)
  actual, _ = _run(optax.masked(tx, outer), params, gradients)
  expected, _ = _run(tx, params, gradients)
  chex.assert_trees_all_equal(actual['dense'], expected['dense'])


@pytest.mark.parametrize('partition', [optax.partition, optax.multi_transform])
def test_partition(partition):
  ours, other = neuroplastic_optimizer(0.1), optax.adam(0.01)
  tx = partition(
    {'ours': ours, 'other': other}, {'dense': 'ours', 'scale': 'other'}
  )
  params, gradients = _tree(0), _trees(3)
  actual, _ = _run(tx, params, gradients)
  for part, alone in (('dense', ours), ('scale', other)):
    expected, _ = _run(alone, params[part], [g[part] for g in gradients])
    chex.assert_trees_all_equal(actual[part], expected)


# Flax and Orbax.


class _Model(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(3, 5, rngs=rngs)
    self.dropout = nnx.Dropout(0.1, deterministic=True, rngs=rngs)
    self.out = nnx.Linear(5, 2, rngs=rngs)

  def __call__(self, x):
    return self.out(self.dropout(nnx.relu(self.hidden(x))))


_DATA = np.random.default_rng(0).normal(size=(8, 3)).astype('float32')


def _loss(model):
  return jnp.mean(jnp.square(model(_DATA) - 1.0))


def _pure_steps(tx, model, steps):
  """What training a copy of a model must come to, by Optax alone."""
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  gradient = jax.jit(
    jax.grad(lambda params: _loss(nnx.merge(graph, params, rest)))
  )
  params = nnx.as_pure(params)
  state = tx.init(params)
  for _ in range(steps):
    updates, state = tx.update(gradient(params), state, params)
    params = optax.apply_updates(params, updates)
  return params


def _last_layer(params):
  """Labels, by the path that also an nnx model has."""
  label = lambda path, _: 'out' if path[0].key == 'out' else 'body'
  return jax.tree.map_with_path(label, params)


NNX = {
  'chained': optax.chain(neuroplastic(optax.trace(0.9)), optax.scale(-0.01)),
  'partitioned': optax.partition(
    {'body': neuroplastic_optimizer(0.1), 'out': optax.sgd(0.1)}, _last_layer
  ),
  'masked_decay': neuroplastic_optimizer(
    0.1, weight_decay=0.1, weight_decay_mask=_is_matrix
  ),
}


@pytest.mark.parametrize('tx', NNX.values(), ids=NNX)
def test_nnx_optimizer(tx):
  model = _Model(nnx.Rngs(0))
  before = _loss(model)
  expected = _pure_steps(tx, model, 5)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

  @nnx.jit
  def step(model, optimizer):
    optimizer.update(model, nnx.grad(_loss)(model))

  for _ in range(5):
    step(model, optimizer)
  params = nnx.as_pure(nnx.state(model, nnx.Param))
  chex.assert_trees_all_close(params, expected, rtol=1e-4, atol=1e-6)
  assert _loss(model) < before


def test_linen_train_state():
  model = nn.Dense(2)
  params = model.init(jax.random.key(0), _DATA)['params']
  tx = neuroplastic_optimizer(0.1, weight_decay=0.01)
  loss = lambda params: jnp.mean(
    (model.apply({'params': params}, _DATA) - 1) ** 2
  )
  state = train_state.TrainState.create(
    apply_fn=model.apply, params=params, tx=tx
  )

  @jax.jit
  def step(state):
    return state.apply_gradients(grads=jax.grad(loss)(state.params))

  opt_state = tx.init(params)
  for _ in range(5):
    updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
    params = optax.apply_updates(params, updates)
    state = step(state)
  chex.assert_trees_all_close(state.params, params, rtol=1e-4, atol=1e-6)
  chex.assert_trees_all_close(state.opt_state, opt_state, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['default', 'adam'])
def test_training_goes_on_from_a_checkpoint(name, tmp_path):
  tx = inject(0.1, **SETTINGS[name])
  params, gradients = _tree(0), _trees(6)
  middle = _run(tx, params, gradients[:3])
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / 'checkpoint', middle)
    checkpointer.wait_until_finished()
    abstract = jax.eval_shape(lambda: (params, tx.init(params)))
    restored = checkpointer.restore(tmp_path / 'checkpoint', abstract)
  chex.assert_trees_all_equal(restored, middle)
  assert _types(restored) == _types(middle)
  actual = _run(tx, restored[0], gradients[3:], restored[1])
  chex.assert_trees_all_equal(actual, _run(tx, params, gradients))
