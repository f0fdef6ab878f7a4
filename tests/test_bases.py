"""Every rule over the bases that people use, and over one of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.settings import mostly_slow

STEPS = 3


def _signs():
  """A user's own: signs of an average, kept under a name of its own."""

  def update(updates, state, params=None):
    del params
    state = jax.tree.map(lambda m, g: 0.5 * m + g, state, updates)
    return jax.tree.map(jnp.sign, state), state

  return optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params), update
  )


BASES = {
  'lion': optax.scale_by_lion,
  # Muon for matrices, which is all that it takes, and Adam for the rest.
  'muon': lambda: contrib.muon(1.0),
  # What Schedule-Free calls its base: an optimizer without a momentum.
  'schedule_free': lambda: optax.scale_by_adam(b1=0.0),
  'adabelief': optax.scale_by_belief,
  'rms': optax.scale_by_rms,
  'adafactor': optax.scale_by_factored_rms,
  'prodigy': contrib.prodigy,
  'mine': _signs,
}
RULES = {
  'direct': modulations.Direct(),
  'gain': modulations.Gain(strength=0.6),
  'trust_ratio': modulations.TrustRatio(strength=0.6),
  'orthogonal': modulations.Orthogonal(strength=0.6),
  'momentum': modulations.Momentum(strength=0.6),
}
# Their states hold no momentum that plasticity could act on.
WITHOUT_MOMENTUM = {'rms', 'adafactor', 'prodigy', 'mine'}


def _params():
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), 'float32')
  return {'kernel': draw(4, 3), 'bias': draw(3)}


def _gradient(params, step):
  """Of a quadratic, with some noise."""
  noise = np.random.default_rng(step)
  return jax.tree.map(
    lambda p: p + 0.1 * noise.standard_normal(p.shape).astype('float32'), params
  )


def _train(tx, params):
  """All updates, stacked, of a scan that is compiled once."""
  gradients = [_gradient(params, step) for step in range(STEPS)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *gradients)

  def step(carry, gradient):
    params, state = carry
    updates, state = tx.update(gradient, state, params)
    params = optax.apply_updates(
      params, jax.tree.map(lambda u: -0.01 * u, updates)
    )
    return (params, state), updates

  return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), stacked))(params)


@mostly_slow('name', {name: name for name in BASES}, 'muon', 'mine')
def test_rules_act_on_any_base(name):
  params = _params()
  base = BASES[name]()
  (_, base_state), plain = _train(base, params)
  for rule_name, rule in RULES.items():
    if rule_name == 'momentum' and name in WITHOUT_MOMENTUM:
      continue
    if rule_name == 'orthogonal' and name == 'prodigy':
      continue  # Its first updates are of ‖b‖² ≤ ε, which the rule leaves.
    tx = neuroplastic(base, modulation=rule)
    (_, state), updates = _train(tx, params)
    for x in jax.tree.leaves((updates, state)):
      assert np.isfinite(np.asarray(x)).all(), rule_name
    # It acts, and at the first update on what the base itself does.
    kernel, of_base = updates['kernel'], plain['kernel']
    assert not np.allclose(kernel, of_base), rule_name
    ratio = np.linalg.norm(kernel[0] - of_base[0]) / np.linalg.norm(of_base[0])
    bound = getattr(rule, 'max_ratio', 1.0)
    assert 0 < ratio <= bound * (1 + 1e-4), rule_name
    assert jax.tree.structure(state.base) == jax.tree.structure(base_state)


@pytest.mark.parametrize('name', BASES)
def test_neutral_settings_are_the_base_bit_for_bit(name):
  # Not compiled as a whole: XLA rounds Muon's products as it fuses them.
  params = _params()
  base = BASES[name]()
  neutral = [
    neuroplastic(base, min_alpha=1.0, max_alpha=1.0),
    neuroplastic(base, modulation=modulations.Gain(strength=0.0)),
  ]
  expected_state, *states = [tx.init(params) for tx in (base, *neutral)]
  for t in range(2):
    gradient = _gradient(params, t)
    expected, expected_state = base.update(gradient, expected_state, params)
    for i, tx in enumerate(neutral):
      updates, states[i] = tx.update(gradient, states[i], params)
      jax.tree.map(np.testing.assert_array_equal, updates, expected)


@pytest.mark.parametrize('name', sorted(WITHOUT_MOMENTUM))
def test_a_base_without_momentum_is_refused_by_that_rule(name):
  tx = neuroplastic(BASES[name](), modulation=modulations.Momentum())
  with pytest.raises(ValueError, match='momentum'):
    tx.init(_params())


def test_schedule_free_around_the_whole():
  """As `optax.contrib.schedule_free` is used: it evaluates at its average."""
  inner = optax.chain(
    neuroplastic(
      optax.scale_by_adam(b1=0.0),
      modulation=modulations.Gain(),
      homeostasis=Homeostasis(max_update_norm=None),
      controller=LearningRateController(),
    ),
    optax.scale_by_learning_rate(0.1),
  )
  tx = contrib.schedule_free(inner, learning_rate=0.1)
  params = _params()
  loss = lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p))

  @jax.jit
  def step(params, state):
    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  state = tx.init(params)
  for _ in range(30):
    params, state = step(params, state)
  average = contrib.schedule_free_eval_params(state, params)
  assert loss(average) < 0.2 * loss(_params())
