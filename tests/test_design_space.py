"""Rules, the controller and momentum: against the equations, and each other."""

import dataclasses
import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import scopes
from tests import reference
from tests.running import run

UPDATES = 8
SHAPES = [(3, 4), (5,), (), (2, 2, 3)]

RULES = {
  'direct': modulations.Direct(),
  'gain': modulations.Gain(strength=0.6),
  'bounded': modulations.Gain(strength=1.0, max_ratio=0.1),
  'momentum': modulations.Momentum(strength=0.6),
  'trust_ratio': modulations.TrustRatio(strength=0.9),
  'orthogonal': modulations.Orthogonal(strength=0.5),
  'matched': modulations.Orthogonal(strength=0.7, match_gradient_norm=True),
}
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


def _leaves(rng, dtype='float32', scale=1.0):
  return [
    jnp.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES
  ]


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
    params = _leaves(rng, 'float64')
    gradients = [_leaves(rng, 'float64', scale) for _ in range(UPDATES)]
    stacked = [jnp.stack(x) for x in zip(*gradients, strict=True)]
    updates = _compiled(name, base)(kappa, params, stacked)
    expected = _expected(name, RULES[name], base, params, gradients, h)
    for actual, wanted in zip(updates, expected, strict=True):
      np.testing.assert_allclose(
        actual, wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max()
      )


@pytest.mark.parametrize(
  'strength', [0.0, jnp.zeros([]), lambda count: 0.0 * count]
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
  params, gradients = _leaves(rng), [_leaves(rng) for _ in range(3)]
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


@pytest.mark.parametrize('name', list(RULES))
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_no_rule_gives_nan_or_infinity(name, dtype):
  rng = np.random.default_rng(0)
  largest = float(jnp.finfo(dtype).max) / 8
  params = [x.astype(dtype) for x in _leaves(rng)]
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
      for x in _leaves(rng)
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
  params, gradients = _leaves(rng), [_leaves(rng) for _ in range(3)]
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
  params, gradients = _leaves(rng), [_leaves(rng)]
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


# Momentum, found by meaning.

P = {'a': (3, 4), 'b': (5,)}


def _tree(rng):
  return {
    name: jnp.asarray(rng.standard_normal(shape), 'float32')
    for name, shape in P.items()
  }


MOMENTA = {
  'trace': (optax.trace(0.8), {'a': None, 'b': None}),
  'adam': (optax.scale_by_adam(b1=0.7), {'a': 0.7, 'b': 0.7}),
  'lion': (optax.scale_by_lion(b2=0.95), {'a': 0.95, 'b': 0.95}),
  'clipped': (
    optax.chain(optax.clip_by_global_norm(0.1), optax.scale_by_adam(b1=0.85)),
    {'a': 0.85, 'b': 0.85},
  ),
  'injected': (
    optax.inject_hyperparams(optax.scale_by_adam)(b1=0.6),
    {'a': 0.6, 'b': 0.6},
  ),
  'masked': (
    optax.chain(
      optax.masked(optax.trace(0.9), {'a': True, 'b': False}),
      optax.masked(optax.scale_by_adam(b1=0.5), {'a': False, 'b': True}),
    ),
    {'a': None, 'b': 0.5},
  ),
  'partition': (
    optax.partition(
      {'x': optax.scale_by_adam(b1=0.75), 'y': optax.scale_by_adam(b1=0.4)},
      {'a': 'x', 'b': 'y'},
    ),
    {'a': 0.75, 'b': 0.4},
  ),
}


@pytest.mark.parametrize('name', list(MOMENTA))
def test_momentum_is_found(name):
  base, decays = MOMENTA[name]
  base = optax.with_extra_args_support(base)
  rng = np.random.default_rng(0)
  params, gradients = _tree(rng), [_tree(rng) for _ in range(3)]
  rule = modulations.Momentum(strength=0.3, max_ratio=1e6)
  # With one α for all, u - b is the strength times (α - 1) times m̂.
  tx = neuroplastic(
    base, modulation=rule, min_alpha=3.0, max_alpha=3.0, homeostasis=None
  )
  updates, state = run(tx, params, gradients)
  plain, _ = run(base, params, gradients)

  def leaves(field, leaf):
    found = optax.tree.get_all_with_path(state.base, field)
    trees = [tree for _, tree in found if isinstance(tree, dict)]
    kept = [t[leaf] for t in trees if not isinstance(t[leaf], optax.MaskedNode)]
    return kept[0]

  for leaf, decay in decays.items():
    if decay is None:
      m_hat = leaves('trace', leaf)
    else:
      m_hat = leaves('mu', leaf) / (1 - decay**3)
    np.testing.assert_allclose(
      updates[leaf] - plain[leaf], 0.6 * m_hat, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
  ('base', 'params'),
  [
    (contrib.muon(1e-2), {'kernel': jnp.ones((2, 2))}),
    (contrib.muon(1e-2), {'bias': jnp.ones(3)}),
    (
      optax.partition(
        {'used': optax.trace(0.9), 'unused': optax.scale_by_adam()},
        lambda params: jax.tree.map(lambda _: 'used', params),
      ),
      {'bias': jnp.ones(3)},
    ),
    (optax.scale_by_adam(), {}),
  ],
)
def test_a_group_of_the_base_may_be_empty(base, params):
  tx = neuroplastic(base, modulation=modulations.Momentum(strength=0.5))
  updates, _ = tx.update(params, tx.init(params), params)
  chex.assert_tree_all_finite(updates)
  chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)


@pytest.mark.parametrize(
  'base',
  [
    optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
    optax.conditionally_transform(
      optax.scale_by_adam(), lambda step, **_: step > 1
    ),
  ],
  ids=['multi_steps', 'conditionally_transform'],
)
def test_steps_that_the_base_skips(base):
  """It has counted none yet, or does not count this one."""
  gradient = jnp.array([1.0, -2.0, 3.0])
  tx = neuroplastic(base, modulation=modulations.Momentum(strength=0.5))
  state, base_state = tx.init(gradient), base.init(gradient)
  for _ in range(5):
    updates, state = tx.update(gradient, state, gradient)
    expected, base_state = base.update(gradient, base_state, gradient)
    chex.assert_tree_all_finite(updates)
    assert jnp.all(jnp.sign(updates) == jnp.sign(expected))


@pytest.mark.parametrize(
  'base',
  [
    None,
    optax.scale_by_rms(),
    optax.chain(optax.trace(0.9), optax.ema(0.9), optax.trace(0.8)),
  ],
)
def test_a_base_without_one_momentum_is_refused(base):
  tx = neuroplastic(base, modulation=modulations.Momentum())
  with pytest.raises(ValueError, match=r"momentum.*params\['a'\].*momentum="):
    tx.init({'a': jnp.ones(3)})


def test_momentum_may_be_given():
  rng = np.random.default_rng(0)
  params, gradients = _tree(rng), [_tree(rng) for _ in range(2)]
  find = lambda state: state.trace
  given, _ = run(
    neuroplastic(
      optax.trace(0.9), modulation=modulations.Momentum(momentum=find)
    ),
    params,
    gradients,
  )
  found, _ = run(
    neuroplastic(optax.trace(0.9), modulation=modulations.Momentum()),
    params,
    gradients,
  )
  jax.tree.map(np.testing.assert_array_equal, given, found)
  with pytest.raises(TypeError, match=r'Momentum\.momentum'):
    modulations.Momentum(momentum='mu')


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
  params, gradients = _leaves(rng), [_leaves(rng)]
  updates, _ = run(
    neuroplastic(modulation=Signed(), homeostasis=None), params, gradients
  )
  direct, _ = run(neuroplastic(homeostasis=None), params, gradients)
  for u, v, g in zip(updates, direct, gradients[0], strict=True):
    np.testing.assert_allclose(u * jnp.abs(g), v, rtol=1e-5, atol=1e-7)


# The controller.


def _controlled(controller, **kwargs):
  rng = np.random.default_rng(0)
  params, gradients = _leaves(rng), [_leaves(rng) for _ in range(UPDATES)]
  plain, _ = run(neuroplastic(**kwargs), params, gradients)
  updates, _ = run(
    neuroplastic(controller=controller, **kwargs), params, gradients
  )
  ours = reference.Reference(
    [np.asarray(p, np.float64) for p in params],
    reference.Hyperparameters(gradient_only=kwargs.get('gradient_only', False)),
  )
  for g in gradients:
    g = [np.asarray(x, np.float64) for x in g]
    ours.update(g, params)
  signals = [
    reference.log_ratio(ours.alpha(i, x), ours.alpha_gradient(x), 1e-8)
    for i, x in enumerate(g)
  ]
  # A direction is never zero here.
  multipliers = [
    float(jnp.linalg.norm(u) / jnp.linalg.norm(v))
    for u, v in zip(updates, plain, strict=True)
  ]
  return multipliers, signals


@pytest.mark.parametrize(
  ('kwargs', 'members'),
  [
    ({}, [[0, 1, 2, 3]]),
    ({'groups': ['x', 'y', 'x', 'y']}, [[0, 2], [1, 3]]),
    ({'groups': lambda p: [x.ndim for x in p]}, [[0], [1], [2], [3]]),
    ({'scope': [True, False, False, True]}, [[0, 3]]),
  ],
)
def test_controller_equals_reference(kwargs, members):
  controller = LearningRateController(gain=2.0, low=0.1, high=3.0, **kwargs)
  actual, signals = _controlled(controller)
  expected = [1.0] * len(SHAPES)
  for group in members:
    for i in group:
      expected[i] = reference.multiplier(
        [signals[j] for j in group], 2.0, 0.1, 3.0
      )
  np.testing.assert_allclose(actual, expected, rtol=1e-4)
  assert len({round(x, 4) for x in expected}) > 1 or len(members) == 1


def test_controller_is_clipped_and_inert_without_plasticity():
  actual, _ = _controlled(LearningRateController(gain=1e6, low=0.9, high=1.1))
  assert all(min(abs(x - 0.9), abs(x - 1.1)) < 1e-5 for x in actual)
  actual, _ = _controlled(LearningRateController(gain=1e6), gradient_only=True)
  np.testing.assert_allclose(actual, 1.0, rtol=1e-6)


# Stacked axes.


@pytest.mark.parametrize('name', list(RULES))
def test_a_stack_equals_its_layers(name):
  rng = np.random.default_rng(0)
  make = lambda: jnp.asarray(rng.standard_normal((3, 4, 5)), jnp.float32)
  layers = lambda x: [x[i] for i in range(3)]
  params, gradients = make(), [make() for _ in range(3)]
  base = optax.trace(0.9) if name == 'momentum' else None
  kwargs = dict(
    modulation=RULES[name],
    weight_decay=0.1,
    controller=LearningRateController(gain=2.0),
    diagnostics='global',
  )
  stack, s = run(
    neuroplastic(base, stacked_axes=1, **kwargs), params, gradients
  )
  apart, t = run(
    neuroplastic(base, **kwargs), layers(params), list(map(layers, gradients))
  )
  np.testing.assert_allclose(stack, jnp.stack(apart), rtol=2e-6, atol=1e-7)
  for name_, value in s.diagnostics._asdict().items():
    np.testing.assert_allclose(
      value, getattr(t.diagnostics, name_), rtol=1e-5, err_msg=name_
    )


@pytest.mark.parametrize(
  'stacked_axes',
  [
    {'stack': 1, 'single': 0},
    lambda path, leaf: int(jax.tree_util.keystr(path) == "['stack']"),
  ],
)
def test_stacked_axes_by_leaf(stacked_axes):
  rng = np.random.default_rng(0)
  g = {
    'stack': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
    'single': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
  }
  updates, _ = run(neuroplastic(stacked_axes=stacked_axes), g, [g])
  rows, _ = run(neuroplastic(), list(g['stack']), [list(g['stack'])])
  whole, _ = run(neuroplastic(), g['single'], [g['single']])
  np.testing.assert_allclose(updates['stack'], jnp.stack(rows), rtol=1e-6)
  np.testing.assert_allclose(updates['single'], whole, rtol=1e-6)


@pytest.mark.parametrize(
  ('value', 'error'), [(-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_stacked_axes_are_checked(value, error):
  with pytest.raises(error, match='stacked_axes'):
    neuroplastic(stacked_axes=value)
  with pytest.raises(ValueError, match='stacked_axes must be at most'):
    neuroplastic(stacked_axes=2).init(jnp.ones(3))


# Scopes.

MODEL = {
  'stem': jnp.zeros((3, 3, 3, 8)),
  'block10': {'conv': jnp.zeros((3, 3, 8, 8)), 'bias': jnp.zeros(8)},
  'block2': {'conv': jnp.zeros((3, 3, 8, 8)), 'bias': jnp.zeros(8)},
  'head': {'kernel': jnp.zeros((8, 2)), 'bias': jnp.zeros(2)},
}
ORDER = ['stem', 'block2', 'block10', 'head']


def _names(mask):
  return {
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, take in jax.tree.leaves_with_path(mask)
    if take
  }


def test_scopes_follow_the_order():
  early = _names(scopes.early_blocks(ORDER)(MODEL))
  late = _names(scopes.late_blocks(ORDER)(MODEL))
  head = _names(scopes.classifier(ORDER)(MODEL))
  assert head == {'head/bias', 'head/kernel'}
  assert early == {'stem', 'block2/bias', 'block2/conv'}
  assert late == {'block2/conv', 'block10/bias', 'block10/conv'}
  assert early | late | head == _names(jax.tree.map(lambda _: True, MODEL))
  # Natural order: block2 before block10, by the letter before head and stem.
  assert _names(scopes.classifier()(MODEL)) == {'head/kernel', 'stem'}
  values = jax.tree.leaves(scopes.thirds(0.5, 1.0, 2.0, ORDER)(MODEL))
  assert sorted(values) == [0.5] * 3 + [1.0] * 2 + [2.0] * 2
  with pytest.raises(ValueError, match='order.*head'):
    scopes.classifier(['stem', 'block2', 'block10'])(MODEL)


def test_scopes_by_path_and_rank():
  assert _names(scopes.matching('bias$')(MODEL)) == {
    'block10/bias', 'block2/bias', 'head/bias',
  }  # fmt: skip
  conv = {'stem', 'block10/conv', 'block2/conv'}
  assert _names(scopes.convolutional(MODEL)) == conv
  stacked = jax.tree.map(lambda x: x[None], MODEL)
  assert _names(scopes.convolutional(stacked_axes=1)(stacked)) == conv
  tx = neuroplastic(modulation=modulations.Gain(scope=scopes.convolutional))
  tx.init(MODEL)
  with pytest.raises(ValueError, match='regex'):
    scopes.matching('(')
