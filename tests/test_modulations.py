"""Rules of modulation: against the equations, and what holds of any."""

import dataclasses
import functools
import re

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests import reference
from tests.arrays import array
from tests.arrays import device_mesh
from tests.arrays import GRADIENT
from tests.arrays import PARAMS
from tests.running import run
from tests.settings import RULES
from tests.trees import random_leaves

UPDATES = 8
BASES = {
  None: lambda: None,
  'trace': lambda: optax.trace(0.9),
  'adam': optax.scale_by_adam,
}
# The other pairs are slow.
FAST = {
  *(('direct', None), ('mean', 'adam'), ('norm', 'trace'), ('gain', 'adam')),
  *(('bounded', 'trace'), ('momentum', 'trace'), ('momentum', 'adam')),
  *(('trust_ratio', 'adam'), ('orthogonal', None), ('matched', 'trace')),
}
PAIRS = [
  pytest.param(
    rule, base, marks=[] if (rule, base) in FAST else pytest.mark.slow
  )
  for rule in RULES
  for base in BASES
  if not (rule == 'momentum' and base is None)
]

# Against the equations.


def _expected(name, rule, base, params, gradients, h):
  """The last updates, by the equations."""
  params = [np.asarray(p, np.float64) for p in params]
  ours, base = reference.Reference(params, h), reference.Base(base, params)

  def modulate(i, b, alpha, alpha_gradient):
    if name in ('direct', 'mean', 'norm'):
      alpha = alpha / alpha.mean() if name == 'mean' else alpha
      u = reference.direct(alpha, b)
      if name == 'norm':
        u = u * np.linalg.norm(b) / np.linalg.norm(u)
      return u
    numbers = rule.strength, rule.max_ratio
    if name in ('gain', 'bounded'):
      return reference.gain(alpha, b, *numbers)
    if name == 'momentum':
      return reference.momentum(alpha, b, base.m_hat(i), *numbers)
    if name == 'trust_ratio':
      return reference.trust_ratio(alpha, b, params[i], *numbers)
    match = rule.match_gradient_norm
    return reference.orthogonal(
      alpha, alpha_gradient, b, *numbers, match, h.eps
    )

  for g in gradients:
    g = [np.asarray(x, np.float64) for x in g]
    updates = ours.update(g, params, base.update(g), modulate)
  return updates


@functools.cache
def _compiled(name, base):
  """The last updates of a rule over a base, for any κ: compiled once."""

  @jax.jit
  def last(kappa, params, gradients):
    tx = neuroplastic(
      BASES[base](),
      modulation=RULES[name],
      plasticity_scale=kappa,
      weight_decay=0.01,
      homeostasis=None,
    )
    step = lambda state, g: tx.update(g, state, params)[::-1]
    updates = jax.lax.scan(step, tx.init(params), gradients)[1]
    return [x[-1] for x in updates]

  return last


@pytest.mark.parametrize(('name', 'base'), PAIRS)
@hypothesis.settings(max_examples=5)
@hypothesis.given(
  seed=st.integers(0, 2**32 - 1),
  kappa=st.floats(0, 3),
  scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_rule_equals_reference(name, base, seed, kappa, scale):
  rng = np.random.default_rng(seed)
  h = reference.Hyperparameters(
    plasticity_scale=kappa, weight_decay=0.01, homeostasis=None
  )
  with jax.enable_x64(True):
    params = random_leaves(rng, 'float64')
    gradients = [random_leaves(rng, 'float64', scale) for _ in range(UPDATES)]
    stacked = [jnp.stack(x) for x in zip(*gradients, strict=True)]
    updates = _compiled(name, base)(kappa, params, stacked)
    expected = _expected(name, RULES[name], base, params, gradients, h)
    for actual, wanted in zip(updates, expected, strict=True):
      np.testing.assert_allclose(
        actual, wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max()
      )


# Whatever the rule.


@pytest.mark.parametrize(
  'rule',
  [
    modulations.Gain,
    modulations.TrustRatio,
    modulations.Momentum,
    modulations.Orthogonal,
  ],
)
def test_no_strength_is_the_base_bit_for_bit(rule):
  rng = np.random.default_rng(0)
  leaves = lambda: random_leaves(rng)[:2]
  params, gradients = leaves(), [leaves() for _ in range(3)]
  gradients[-1][0] = -jnp.zeros_like(gradients[-1][0])
  for base, strength in (
    (optax.trace(0.9), 0.0),
    (optax.scale_by_adam(), jnp.zeros([])),
    (optax.trace(0.9), lambda count: jnp.zeros([])),
  ):
    tx = neuroplastic(base, modulation=rule(strength=strength))
    updates, state = run(tx, params, gradients)
    expected, base_state = run(base, params, gradients)
    for a, b in zip(
      jax.tree.leaves((updates, state.base)),
      jax.tree.leaves((expected, base_state)),
      strict=True,
    ):
      assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_defaults_stay_what_they_were():
  for rule in (
    modulations.Gain,
    modulations.TrustRatio,
    modulations.Momentum,
  ):
    assert (rule().strength, rule().max_ratio) == (0.15, 0.25)
    assert rule().scope is None
  assert modulations.Momentum().momentum is None
  rule = modulations.Orthogonal()
  assert (rule.strength, rule.max_ratio) == (0.1, 0.5)
  assert (rule.match_gradient_norm, rule.scope) == (False, None)
  assert modulations.Direct().normalize is None


@pytest.mark.parametrize('name', list(RULES)[3:])
def test_outside_its_scope_a_rule_leaves_the_base(name):
  rng = np.random.default_rng(0)
  params, gradients = random_leaves(rng), [random_leaves(rng)]
  base = optax.trace(0.9)
  rule = dataclasses.replace(RULES[name], scope=[True, False, False, True])
  inside = neuroplastic(base, modulation=RULES[name], weight_decay=0.1)
  partly = neuroplastic(base, modulation=rule, weight_decay=0.1)
  nowhere = dataclasses.replace(RULES[name], scope=lambda p: [False] * len(p))
  outside = neuroplastic(base, modulation=nowhere, weight_decay=0.1)
  (full, _), (part, _), (none, _) = (
    run(tx, params, gradients) for tx in (inside, partly, outside)
  )
  for i, take in enumerate(rule.scope):
    np.testing.assert_allclose(part[i], full[i] if take else none[i], rtol=1e-6)
    # Decay acts there too.
    np.testing.assert_allclose(
      none[i], gradients[0][i] + 0.1 * params[i], rtol=1e-5, atol=1e-6
    )


def test_trust_ratio_needs_the_params():
  tx = neuroplastic(modulation=modulations.TrustRatio())
  params = jnp.ones(3)
  with pytest.raises(ValueError, match='TrustRatio needs the params'):
    tx.update(params, tx.init(params))


# Direct with α at mean 1.


def _mean(normalize='mean', **kwargs):
  return neuroplastic(
    modulation=modulations.Direct(normalize=normalize),
    homeostasis=None,
    **kwargs,
  )


def test_alpha_is_left_where_its_mean_is_not_above_eps():
  # Far below ε, α_grad is about |g| / ε; beside a large ε, all α are small.
  for g, kwargs in (
    (1e-20 * array(50), dict(min_alpha=0.0, gradient_only=True)),
    (array(50) ** 5, dict(min_alpha=0.0, plasticity_scale=3.0, eps=10.0)),
    (jnp.zeros(50), dict(min_alpha=0.0)),
  ):
    u, _ = run(_mean(**kwargs), g, [g])
    plain, _ = run(_mean(None, **kwargs), g, [g])
    np.testing.assert_array_equal(u, plain)


def test_diagnostics_show_alpha_before_it_is_normalized():
  for normalize in (None, 'mean', 'norm'):
    tx = _mean(normalize, diagnostics='global', max_alpha=0.5)
    _, state = run(tx, PARAMS, [GRADIENT] * 2)
    assert get_diagnostics(state)['alpha_max'] <= 0.5


# Rules of a user's own.


@dataclasses.dataclass(frozen=True)
class Sign(modulations.Residual):
  """u = b + s·α·rms(b) ⊙ sign(b) where the scope says so."""

  strength: object = modulations.number(default=0.1, low=0.0)
  scope: object = None

  def residual(self, tensor):
    b = tensor.base_update
    rms = jnp.sqrt(tensor.mean(b**2))
    return self.strength * tensor.alpha * rms * jnp.sign(b)


def test_own_residual_with_a_scheduled_strength_and_a_scope():
  ramp = optax.linear_schedule(0.0, 1.0, 2)
  tx = neuroplastic(
    modulation=Sign(ramp, {'w': True, 'b': False}), homeostasis=None
  )
  alpha = neuroplastic(homeostasis=None)
  state, alpha_state = tx.init(PARAMS), alpha.init(PARAMS)
  for count in range(3):
    u, state = tx.update(GRADIENT, state, PARAMS)
    product, alpha_state = alpha.update(GRADIENT, alpha_state, PARAMS)
    b = np.asarray(GRADIENT['w'], np.float64)
    rms = np.sqrt(np.mean(b**2))
    expected = b + count / 2 * np.asarray(product['w']) / b * rms * np.sign(b)
    np.testing.assert_allclose(u['w'], expected, rtol=1e-5)
    np.testing.assert_array_equal(u['b'], GRADIENT['b'])
    if count == 0:  # With strength 0, the base bit for bit.
      np.testing.assert_array_equal(u['w'], GRADIENT['w'])
  with pytest.raises(ValueError, match=r'^Sign.strength must be a number in'):
    Sign(-1.0)


@dataclasses.dataclass(frozen=True)
class OnMomentum(modulations.Modulation):
  uses_momentum = True

  def modulate(self, tensor):
    return tensor.momentum


def test_own_rule_finds_momentum_or_says_where_it_is():
  tx = neuroplastic(optax.scale_by_adam(b1=0.9), modulation=OnMomentum())
  u, _ = run(tx, PARAMS, [GRADIENT] * 3)
  chex.assert_trees_all_close(u, GRADIENT, rtol=1e-5)  # Bias-corrected.
  with pytest.raises(ValueError, match='OnMomentum needs a base .* momentum'):
    neuroplastic(modulation=OnMomentum()).init(PARAMS)

  class Own(OnMomentum):
    def find_momentum(self, base_state):
      return base_state['velocity']

  base = optax.GradientTransformation(
    lambda params: {'velocity': params},
    lambda updates, state, params=None: (updates, {'velocity': updates}),
  )
  tx = neuroplastic(base, modulation=Own())
  updates, _ = jax.jit(tx.update)(GRADIENT, tx.init(PARAMS), PARAMS)
  chex.assert_trees_all_equal(updates, GRADIENT)


def test_own_rule_with_another_shape_or_no_dataclass_is_refused():
  @dataclasses.dataclass(frozen=True)
  class Wrong(modulations.Modulation):
    returned: object

    def modulate(self, tensor):
      return self.returned(tensor)

  for returned, found in (
    (lambda t: t.mean(t.alpha), 'shape ()'),
    (lambda t: None, 'None'),
  ):
    tx = neuroplastic(modulation=Wrong(returned))
    message = f'{re.escape("(4, 6), got " + found)}.$'
    with pytest.raises(ValueError, match=f'^Wrong.modulate must .* {message}'):
      tx.update(GRADIENT['w'], tx.init(PARAMS['w']), PARAMS['w'])

  class Plain(modulations.Modulation):
    def modulate(self, tensor):
      return tensor.base_update

  with pytest.raises(TypeError, match='decorate Plain with @dataclasses'):
    neuroplastic(modulation=Plain())


# What a rule sees of a tensor.

SUMS = {
  'sum': (lambda t: t.sum(t.base_update), lambda b, p: b.sum()),
  'mean': (lambda t: t.mean(t.base_update), lambda b, p: b.mean()),
  'dot': (
    lambda t: t.dot(t.base_update, t.parameter),
    lambda b, p: (b.conj() * p).sum().real,
  ),
  'norm': (lambda t: t.norm(t.parameter), lambda b, p: np.linalg.norm(p)),
  'sum_of_scalar': (
    lambda t: t.sum(jnp.float32(2.0)),
    lambda b, p: 2.0 * b.size,
  ),
  'mean_of_scalar': (lambda t: t.mean(jnp.float32(2.0)), lambda b, p: 2.0),
  'norm_of_scalar': (
    lambda t: t.norm(jnp.float32(2.0)),
    lambda b, p: 2.0 * np.sqrt(b.size),
  ),
  'dot_with_scalar': (
    lambda t: t.dot(jnp.float32(2.0), t.base_update),
    lambda b, p: 2.0 * b.real.sum(),
  ),
}


@dataclasses.dataclass(frozen=True)
class Sums(modulations.Modulation):
  """Fills the update with the sums, one along each column."""

  names: tuple[str, ...] = (*SUMS,)
  uses_parameter = True

  def modulate(self, tensor):
    u = jnp.zeros_like(tensor.base_update)
    column = jnp.arange(u.shape[-1]) % len(self.names)
    for i, name in enumerate(self.names):
      value = jnp.full_like(u, SUMS[name][0](tensor))
      u = jnp.where(column == i, value, u)
    return u


def _sums(*names, **kwargs):
  return neuroplastic(
    modulation=Sums(*[names] * bool(names)), homeostasis=None, **kwargs
  )


@pytest.mark.parametrize('dtype', ['float32', 'complex64'])
@pytest.mark.parametrize('stacked_axes', [0, 1, 2])
def test_sums_are_those_of_each_slice(dtype, stacked_axes):
  g, p = array(3, 2, 8, dtype=dtype), array(3, 2, 8, dtype=dtype)
  if dtype == 'complex64':
    g = g + 1j * array(3, 2, 8, dtype=dtype)
    p = p - 2j * array(3, 2, 8, dtype=dtype)
  tx = _sums(stacked_axes=stacked_axes)
  u, _ = tx.update(g, tx.init(p), p)
  for index in np.ndindex(*g.shape[:stacked_axes]):
    b, theta = (np.asarray(x[index], np.complex128) for x in (g, p))
    values = [expected(b, theta) for _, expected in SUMS.values()]
    expected = np.broadcast_to(np.array(values), b.shape)
    np.testing.assert_allclose(u[index], expected, rtol=1e-4, atol=1e-5)


def test_sums_are_those_of_the_whole_tensor_in_shard_map():
  g, p = array(16, 8), array(16, 8)
  tx, whole = _sums(axis_name='x'), _sums()
  update = jax.shard_map(
    lambda g, p: tx.update(g, tx.init(p), p)[0],
    mesh=device_mesh(),
    in_specs=jax.P('x'),
    out_specs=jax.P('x'),
  )
  expected, _ = whole.update(g, whole.init(p), p)
  np.testing.assert_allclose(jax.jit(update)(g, p), expected, rtol=1e-5)


def test_norm_neither_overflows_nor_vanishes_and_has_its_derivative():
  """The derivative is that of √Σx², and 0 at 0."""
  x = jnp.array([0.6, 0.0, -0.8])
  tx = _sums('norm')

  def norm(factor):
    params = factor * x
    return tx.update(x, tx.init(params), params)[0][0]

  for size in (1e-30, 1e-10, 1.0, 1e10, 1e30):
    p = jnp.float32(size) * jnp.array([3.0, 4.0])
    u, _ = tx.update(p, tx.init(p), p)
    np.testing.assert_allclose(u, 5.0 * size, rtol=1e-6)
  for differentiate in (jax.jacfwd, jax.jacrev):
    slope = jax.jit(differentiate(norm))
    for size in (0.0, 1e-15, 0.5, 3.0, 1e15):
      expected = float(size > 0)
      np.testing.assert_allclose(slope(jnp.float32(size)), expected, rtol=1e-6)
