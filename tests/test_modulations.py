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
from neuroplastic_optax import LearningRateController
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
  'none': lambda: None,
  'trace': lambda: optax.trace(0.9),
  'adam': optax.scale_by_adam,
}
# The other pairs are slow.
FAST = {
  *(('direct', 'none'), ('mean', 'adam'), ('norm', 'trace'), ('gain', 'adam')),
  *(('bounded', 'trace'), ('momentum', 'trace'), ('momentum', 'adam')),
  *(('trust_ratio', 'adam'), ('orthogonal', 'none'), ('matched', 'trace')),
}
PAIRS = [
  pytest.param(
    rule, base, marks=[] if (rule, base) in FAST else pytest.mark.slow
  )
  for rule in RULES
  for base in BASES
  if not (rule == 'momentum' and base == 'none')
]

# Against the equations.


def _expected(name, rule, base, params, gradients, h):
  """The last updates, by the equations."""
  params = [np.asarray(p, np.float64) for p in params]
  ours = reference.Reference(params, h)
  m = [np.zeros_like(p) for p in params]
  v = [np.zeros_like(p) for p in params]
  for t, g in enumerate(gradients, start=1):
    g = [np.asarray(x, np.float64) for x in g]
    b, m_hat = None, None
    if base == 'trace':
      m = [reference.sgd_momentum(x, y) for x, y in zip(m, g, strict=True)]
      b = m_hat = m
    elif base == 'adam':
      triples = [reference.adam(*x, t) for x in zip(m, v, g, strict=True)]
      b, m, v = (list(x) for x in zip(*triples, strict=True))
      m_hat = [x / (1 - 0.9**t) for x in m]

    def modulate(i, b, alpha, alpha_gradient, m_hat=m_hat):
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
        return reference.momentum(alpha, b, m_hat[i], *numbers)
      if name == 'trust_ratio':
        return reference.trust_ratio(alpha, b, params[i], *numbers)
      match = rule.match_gradient_norm
      return reference.orthogonal(
        alpha, alpha_gradient, b, *numbers, match, h.eps
      )

    updates = ours.update(g, params, b, modulate)
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


@pytest.mark.parametrize('name', list(RULES))
def test_updates_are_finite_for_gradients_of_any_size_and_dtype(name):
  rng = np.random.default_rng(0)
  dtypes = ('float32', 'bfloat16', 'float16')
  leaves = lambda: {d: random_leaves(rng, d)[0] for d in dtypes}
  params = leaves()
  tx = neuroplastic(
    optax.trace(0.5) if name == 'momentum' else None,
    modulation=RULES[name],
    diagnostics='global',
    controller=LearningRateController(gain=2.0),
  )
  update = jax.jit(tx.update)
  for magnitude in (0.0, 1e-30, 1e30):

    def scaled(x, magnitude=magnitude):
      largest = float(jnp.finfo(x.dtype).max) / 8
      wide = magnitude * x.astype('float32')
      return jnp.clip(wide, -largest, largest).astype(x.dtype)

    gradients = jax.tree.map(scaled, leaves())
    gradients = jax.tree.map(lambda x: x.at[1:].set(0), gradients)
    state = tx.init(params)
    for _ in range(3):
      updates, state = update(gradients, state, params)
    for x in jax.tree.leaves((updates, state)):
      assert not np.isnan(np.asarray(x, np.float64)).any()
    chex.assert_tree_all_finite(updates)
    chex.assert_trees_all_equal_dtypes(updates, gradients)


@pytest.mark.parametrize('name', ['mean', 'norm', 'momentum', 'matched'])
def test_rules_under_vmap_scan_and_injection(name):
  rng = np.random.default_rng(0)
  base = optax.scale_by_adam() if name == 'momentum' else None
  make = lambda k: neuroplastic(
    base, modulation=RULES[name], plasticity_scale=k
  )
  params, gradients = random_leaves(rng), [random_leaves(rng) for _ in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *gradients)

  def train(kappa):
    tx = make(kappa)
    step = lambda state, g: tx.update(g, state, params)[::-1]
    return jax.lax.scan(step, tx.init(params), stacked)[1]

  together = jax.jit(jax.vmap(train))(jnp.array([0.0, 2.5]))
  last = [x[1, -1] for x in together]
  alone, _ = run(make(2.5), params, gradients)
  injected, _ = run(optax.inject_hyperparams(make)(k=2.5), params, gradients)
  for found in (last, injected):
    for a, b in zip(found, alone, strict=True):
      np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


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


@pytest.mark.parametrize('stacked_axes', [0, 1])
def test_mean_of_alpha_is_1_over_each_tensor(stacked_axes):
  g = array(3, 40)
  axis = 1 if stacked_axes else None
  for settings in ({}, dict(plasticity_scale=2.0), dict(parameterwise=False)):
    settings |= dict(stacked_axes=stacked_axes)
    u, _ = run(_mean(**settings), g, [g] * 3)
    plain, _ = run(_mean(None, **settings), g, [g] * 3)
    alpha = np.asarray(plain, np.float64) / np.asarray(g)
    mean = alpha.mean(axis=axis, keepdims=True)
    np.testing.assert_allclose(u, alpha / mean * g, rtol=2e-5, atol=1e-7)


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


def test_normalized_alpha_of_sharded_and_split_arrays():
  g = array(16, 3)
  for normalize in ('mean', 'norm'):
    expected, _ = run(_mean(normalize), g, [g])
    for kind in ('Auto', 'Explicit'):
      mesh = device_mesh(kind)
      with jax.set_mesh(mesh):
        split = jax.device_put(g, jax.NamedSharding(mesh, jax.P('x', None)))
        u, _ = run(_mean(normalize), split, [split])
      np.testing.assert_allclose(u, expected, rtol=1e-5)
    tx = _mean(normalize, axis_name='x')
    update = jax.shard_map(
      lambda g, tx=tx: tx.update(g, tx.init(g))[0],
      mesh=device_mesh(),
      in_specs=jax.P('x'),
      out_specs=jax.P('x'),
    )
    np.testing.assert_allclose(jax.jit(update)(g), expected, rtol=1e-5)


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
