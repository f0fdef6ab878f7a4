"""Any floating dtype, complex ones too, and numbers at their ends."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules
from tests.settings import every_setting
from tests.settings import RULES
from tests.settings import SETTINGS
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of

FLOATS = ('float16', 'bfloat16', 'float32', 'float64')


def _of_all_floats(seed=0):
  """A tree with leaves of every dtype, under 64-bit mode."""
  draw = np.random.default_rng(seed).normal
  return {dtype: jnp.asarray(draw(size=(3, 4)), dtype) for dtype in FLOATS}


# What is of which dtype.


@every_setting
def test_state_and_updates_keep_their_types(settings):
  tx = neuroplastic_optimizer(jnp.float32(0.1), **settings)
  with jax.enable_x64(True):
    weak = jnp.asarray(1.0)
    assert jax.typeof(weak).weak_type
    params = {'strong': _of_all_floats(), 'weak': weak}
    state = tx.init(params)
    for moment in filter(None, state[0][1:4]):
      dtypes = jax.tree.map(lambda x: x.dtype.name, moment['strong'])
      assert dtypes == {dtype: dtype for dtype in FLOATS}
    base = settings.get('base', optax.identity())
    expected = base.update(params, base.init(params), params)
    weak_types = [x.weak_type for x in jax.tree.leaves(types_of(state[0][1:4]))]
    assert not any(weak_types)
    for update in (tx.update, jax.jit(tx.update)):
      updates, after = update(params, state, params)
      # Adam's updates are never weak, and its moments not for long.
      ours = after[0]
      assert types_of((updates, ours.base)) == types_of(expected)
      after = (ours._replace(base=state[0].base), *after[1:])
      assert types_of(after) == types_of(state)


@pytest.mark.parametrize('state_dtype', FLOATS)
def test_moments_have_the_state_dtype(state_dtype):
  if state_dtype == 'float64':
    with pytest.raises(ValueError, match=r'state_dtype=float64 .*64-bit'):
      neuroplastic(state_dtype=state_dtype)
  params = {
    'real': jnp.ones(3, 'bfloat16'),
    'complex': jnp.ones(3, 'complex64'),
  }
  with jax.enable_x64(state_dtype == 'float64'):
    tx = neuroplastic(state_dtype=state_dtype)
    state = tx.init(params)
    _, state = jax.jit(tx.update)(params, state)
  complex_dtype = 'complex128' if state_dtype == 'float64' else 'complex64'
  assert jax.tree.map(lambda x: x.dtype.name, state.memory_mu) == {
    'real': state_dtype, 'complex': complex_dtype,
  }  # fmt: skip
  for moment in (state.activity, state.memory_nu):
    assert {x.dtype.name for x in jax.tree.leaves(moment)} == {state_dtype}


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@every_setting
def test_arithmetic_is_in_float32(settings, dtype):
  # Of gradients and moments that a low dtype can hold, only the last step,
  # the rounding of the result, may differ from float32.
  if 'base' in settings:
    settings = dict(weight_decay=0.01, homeostasis=Homeostasis(0.5))
  tx = neuroplastic(state_dtype='float32', **settings)
  params, gradients = random_tree(0, dtype), random_trees(4, dtype)
  wide = functools.partial(optax.tree.cast, dtype='float32')
  state, wide_state = tx.init(params), tx.init(wide(params))
  for gradient in gradients:
    updates, state = tx.update(gradient, state, params)
    expected, wide_state = tx.update(wide(gradient), wide_state, wide(params))
    chex.assert_trees_all_equal(updates, optax.tree.cast(expected, dtype))
    chex.assert_trees_all_equal(state, wide_state)


# Extreme numbers.

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
@pytest.mark.parametrize(
  'settings',
  [
    {},
    dict(gradient_only=True, weight_decay=0.01),
    dict(homeostasis=None),
    dict(homeostasis=None, parameterwise=False),
    dict(homeostasis=Homeostasis(max_update_norm=None)),
    *(
      dict(modulation=rule, controller=LearningRateController(gain=2.0))
      for name, rule in RULES.items()
      if name != 'momentum'
    ),
  ],
)
def test_no_gradient_makes_nan_or_infinity(settings):
  tx = neuroplastic(**settings)
  with jax.enable_x64(True):
    params = _of_all_floats()
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


@pytest.mark.parametrize('diagnostics', [None, 'per_leaf'])
@pytest.mark.parametrize('room', [1, 4])
def test_homeostasis_bounds_gradients_whose_squares_overflow(room, diagnostics):
  # All the dtype has, with room for α ≤ 2 or without.
  tx = neuroplastic(diagnostics=diagnostics)
  update = jax.jit(tx.update)
  with jax.enable_x64(True):
    params = _of_all_floats()
    state = tx.init(params)
    for sparse in (False, True):
      gradient = {
        dtype: _filled(tree, float(jnp.finfo(dtype).max) / room, sparse=sparse)
        for dtype, tree in params.items()
      }
      updates, state = update(gradient, state)
      chex.assert_tree_all_finite((updates, state._replace(diagnostics=None)))
      if diagnostics:
        norms = get_diagnostics(state)['update_norm']
        # float64's largest is beyond the statistics' float32.
        del norms['float64']
        chex.assert_tree_all_finite(norms)


# Complex numbers.


@pytest.mark.parametrize('settings', [{}, SETTINGS['adam']])
def test_complex_numbers(settings):
  tx = neuroplastic(**settings)
  with jax.enable_x64(True):
    params, gradient = (
      {dtype: random_tree(seed, dtype) for dtype in ('complex64', 'complex128')}
      for seed in (0, 1)
    )
    turned = functools.partial(
      jax.tree.map, lambda x: x * jnp.asarray(np.exp(1j), x.dtype)
    )
    state = tx.init(params)
    assert all(jnp.isrealobj(x) for x in jax.tree.leaves(state.activity))
    updates, after = jax.jit(tx.update)(gradient, state, params)
    assert types_of(updates) == types_of(gradient)
    assert types_of(after) == types_of(state)
    # Moduli make the signals: what is turned stays turned.
    actual, _ = jax.jit(tx.update)(turned(gradient), state, turned(params))
    chex.assert_trees_all_close(actual, turned(updates), rtol=1e-5)


# Eight bits and fewer.


@pytest.mark.parametrize('decoupled', [False, True])
def test_params_in_float8_and_float4_have_moments_in_float32(decoupled):
  names = ('float8_e4m3fn', 'float8_e5m2', 'float8_e3m4', 'float4_e2m1fn')
  params = {
    name: jnp.linspace(0.5, 2.0, 6).astype(name)
    for name in names
    if hasattr(jnp, name)
  }
  assert 'float8_e4m3fn' in params
  tx = neuroplastic_optimizer(
    0.1,
    diagnostics='global',
    weight_decay=0.1,
    decoupled_weight_decay=decoupled,
  )
  state = tx.init(params)
  updates, after = jax.jit(tx.update)(params, state, params)
  assert types_of(after) == types_of(state)
  moments = {x.dtype.name for x in jax.tree.leaves(state[0].memory_nu)}
  assert moments == {'float32'}
  wide = jax.tree.map(lambda x: x.astype('float32'), params)
  expected, _ = tx.update(wide, tx.init(wide), wide)
  for name, update in updates.items():
    assert update.dtype == params[name].dtype
    limits = jnp.finfo(name)
    np.testing.assert_allclose(
      update.astype('float32'),
      expected[name],
      rtol=2 * float(limits.eps),
      atol=2 * float(limits.smallest_subnormal),
    )
  with pytest.raises(ValueError, match=r'state_dtype .* at least 16 bits'):
    neuroplastic(state_dtype='float8_e4m3fn')


PYTHON = dict(
  learning_rate=0.1,
  weight_decay=0.1,
  plasticity_scale=schedules.late_ramp(2.0, steps_per_epoch=2, epochs=3),
)
# As of `inject_hyperparams`, or in a `vmap` over an ensemble.
ARRAYS = {
  **dict.fromkeys(
    ('learning_rate', 'weight_decay', 'memory_b1', 'memory_b2', 'eps'),
    jnp.float32(0.1),
  ),
  'activity_decay': jnp.bfloat16(0.5),
  'min_alpha': jnp.float32(0.5),
  'max_alpha': jnp.float32(1.5),
  'plasticity_scale': schedules.cosine_ramp(jnp.bfloat16(2.0), 2, 3),
}


@pytest.mark.parametrize(
  ('numbers', 'kept'),
  [
    (PYTHON, dict(diagnostics='global', state_dtype='bfloat16')),
    (ARRAYS, dict(diagnostics='per_leaf', stacked_axes={'w': 1, 'b': 0})),
  ],
  ids=['python', 'arrays'],
)
@pytest.mark.parametrize('rule', RULES.values(), ids=RULES)
@pytest.mark.parametrize('x64', [False, True], ids=['x32', 'x64'])
def test_update_keeps_types_under_strict_promotion(numbers, kept, rule, x64):
  tx = neuroplastic_optimizer(
    base=optax.trace(0.9),
    modulation=rule,
    homeostasis=Homeostasis(),
    controller=LearningRateController(gain=numbers['learning_rate']),
    # One α per tensor, and a decay after it, for the sake of other paths.
    decoupled_weight_decay=x64,
    parameterwise=not x64,
    **numbers,
    **kept,
  )
  with jax.enable_x64(x64):
    # One leaf is as wide as can be, and alone in that.
    wide = 'float64' if x64 else 'float32'
    dtypes = ('float32', 'bfloat16', 'complex64')
    params = {
      'w': [jnp.ones((2, 3), dtype) for dtype in dtypes],
      'b': jnp.ones(3, wide),
    }
    state = tx.init(params)
    after = jax.eval_shape(tx.update, params, state, params)
    assert types_of(after) == types_of((params, state))
