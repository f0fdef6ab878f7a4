"""Rules of modulation: against the equations, and what holds of any."""

import dataclasses
import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests import reference
from tests.running import run
from tests.settings import RULES
from tests.trees import random_leaves

UPDATES = 8
BASES = {
  'none': lambda: None,
  'trace': lambda: optax.trace(0.9),
  'adam': optax.scale_by_adam,
}
PAIRS = [
  (rule, base)
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
      if name == 'direct':
        return reference.direct(alpha, b)
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
  'strength', [0.0, jnp.zeros([]), lambda count: jnp.zeros([])]
)
@pytest.mark.parametrize(
  'rule',
  [
    modulations.Gain,
    modulations.TrustRatio,
    modulations.Momentum,
    modulations.Orthogonal,
  ],
)
@pytest.mark.parametrize('base', [optax.trace(0.9), optax.scale_by_adam()])
def test_no_strength_is_the_base_bit_for_bit(rule, base, strength):
  rng = np.random.default_rng(0)
  params, gradients = random_leaves(rng), [random_leaves(rng) for _ in range(3)]
  gradients[-1][0] = -jnp.zeros_like(gradients[-1][0])
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
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_no_rule_gives_nan_or_infinity(name, dtype):
  rng = np.random.default_rng(0)
  largest = float(jnp.finfo(dtype).max) / 8
  params = [x.astype(dtype) for x in random_leaves(rng)]
  tx = neuroplastic(
    optax.trace(0.5) if name == 'momentum' else None,
    modulation=RULES[name],
    diagnostics='global',
    controller=LearningRateController(gain=2.0),
  )
  update = jax.jit(tx.update)
  for magnitude in (0.0, 1e-30, 1e30):
    gradients = [
      jnp.clip(magnitude * x, -largest, largest).astype(dtype)
      for x in random_leaves(rng)
    ]
    gradients[0] = gradients[0].at[1:].set(0)
    state = tx.init(params)
    for _ in range(3):
      updates, state = update(gradients, state, params)
    for x in jax.tree.leaves((updates, state)):
      assert not np.isnan(np.asarray(x, np.float64)).any()
    for x, g in zip(updates, gradients, strict=True):
      assert np.isfinite(np.asarray(x, np.float64)).all()
      assert x.dtype == g.dtype


@pytest.mark.parametrize('name', list(RULES))
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


@pytest.mark.parametrize('name', list(RULES)[1:])
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


def test_a_rule_of_ones_own():
  @dataclasses.dataclass(frozen=True)
  class Signed(modulations.Modulation):
    def modulate(self, tensor):
      return tensor.alpha * jnp.sign(tensor.base_update)

  rng = np.random.default_rng(0)
  params, gradients = random_leaves(rng), [random_leaves(rng)]
  updates, _ = run(
    neuroplastic(modulation=Signed(), homeostasis=None), params, gradients
  )
  direct, _ = run(neuroplastic(homeostasis=None), params, gradients)
  for u, v, g in zip(updates, direct, gradients[0], strict=True):
    np.testing.assert_allclose(u * jnp.abs(g), v, rtol=1e-5, atol=1e-7)
