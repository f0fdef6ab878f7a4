"""Every rule over the bases that people use, and the momentum of bases."""

import chex
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
from tests.running import run
from tests.settings import mostly_slow
from tests.trees import stack


def _tree(seed):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), 'float32')
  return {'kernel': draw(4, 3), 'bias': draw(3)}


PARAMS, *GRADIENTS = map(_tree, range(4))


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


def _train(tx):
  """The last state, and all updates, stacked."""

  def step(carry, gradient):
    params, state = carry
    updates, state = tx.update(gradient, state, params)
    scaled = jax.tree.map(lambda u: -0.01 * u, updates)
    return (optax.apply_updates(params, scaled), state), updates

  scan = lambda p: jax.lax.scan(step, (p, tx.init(p)), stack(GRADIENTS))
  (_, state), updates = jax.jit(scan)(PARAMS)
  return state, updates


@mostly_slow('name', {name: name for name in BASES}, 'muon', 'mine')
def test_rules_act_on_any_base(name):
  base = BASES[name]()
  base_state, plain = _train(base)
  for rule_name, rule in RULES.items():
    tx = neuroplastic(base, modulation=rule)
    if rule_name == 'momentum' and name in WITHOUT_MOMENTUM:
      with pytest.raises(ValueError, match='momentum'):
        tx.init(PARAMS)
      continue
    if rule_name == 'orthogonal' and name == 'prodigy':
      continue  # Its first updates are of ‖b‖² ≤ ε, which the rule leaves.
    state, updates = _train(tx)
    chex.assert_tree_all_finite((updates, state))
    # It acts, and at the first update on what the base itself does.
    kernel, of_base = updates['kernel'], plain['kernel']
    assert not np.allclose(kernel, of_base), rule_name
    ratio = np.linalg.norm(kernel[0] - of_base[0]) / np.linalg.norm(of_base[0])
    bound = getattr(rule, 'max_ratio', 1.0)
    assert 0 < ratio <= bound * (1 + 1e-4), rule_name
    assert jax.tree.structure(state.base) == jax.tree.structure(base_state)


def test_schedule_free_around_the_whole_descends():
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
  loss = lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p))

  @jax.jit
  def step(params, state):
    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  params, state = PARAMS, tx.init(PARAMS)
  for _ in range(30):
    params, state = step(params, state)
  average = contrib.schedule_free_eval_params(state, params)
  assert loss(average) < 0.2 * loss(PARAMS)


# Momentum. The base, and the decay of its momentum; None for a `trace`.

MOMENTA = {
  'trace': (optax.trace(0.8), None),
  'adam': (optax.scale_by_adam(), 0.9),
  'lion': (optax.scale_by_lion(b2=0.95), 0.95),
  'injected': (optax.inject_hyperparams(optax.scale_by_adam)(b1=0.6), 0.6),
  'masked': (
    optax.chain(
      optax.clip_by_global_norm(0.1),
      optax.masked(optax.trace(0.9), {'kernel': True, 'bias': False}),
      optax.masked(
        optax.scale_by_adam(b1=0.5), {'kernel': False, 'bias': True}
      ),
    ),
    0.5,
  ),
  'partition': (
    optax.partition(
      {'x': optax.scale_by_adam(b1=0.75), 'y': optax.trace(0.4)},
      {'kernel': 'x', 'bias': 'y'},
    ),
    0.75,
  ),
}


@pytest.mark.parametrize('name', MOMENTA)
def test_momentum_is_found_by_name_and_debiased_by_decay(name):
  base, decay = MOMENTA[name]
  base = optax.with_extra_args_support(base)
  given = {} if decay in (None, 0.9) else {'decay': decay}
  rule = modulations.Momentum(strength=0.3, max_ratio=1e6, **given)
  # With one α for all, u - b is the strength times (α - 1) times m̂.
  tx = neuroplastic(
    base, modulation=rule, min_alpha=3.0, max_alpha=3.0, homeostasis=None
  )
  updates, state = run(tx, PARAMS, GRADIENTS)
  plain, _ = run(base, PARAMS, GRADIENTS)

  def held(field, leaf):
    found = optax.tree.get_all_with_path(state.base, field)
    trees = [tree for _, tree in found if isinstance(tree, dict)]
    kept = [t[leaf] for t in trees if not isinstance(t[leaf], optax.MaskedNode)]
    return kept[0] if kept else None

  for leaf in PARAMS:
    m_hat = held('trace', leaf)
    if m_hat is None:
      m_hat = held('mu', leaf) / (1 - decay**3)
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
def test_momentum_is_found_where_a_group_of_the_base_is_empty(base, params):
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
def test_steps_that_the_base_skips_stay_finite_and_keep_signs(base):
  """It has counted none yet, or does not count this one."""
  gradient = jnp.array([1.0, -2.0, 3.0])
  tx = neuroplastic(base, modulation=modulations.Momentum(strength=0.5))
  state, base_state = tx.init(gradient), base.init(gradient)
  for _ in range(5):
    updates, state = tx.update(gradient, state, gradient)
    expected, base_state = base.update(gradient, base_state, gradient)
    chex.assert_tree_all_finite(updates)
    assert jnp.all(jnp.sign(updates) == jnp.sign(expected))


def test_base_without_one_momentum_is_refused():
  two = optax.chain(optax.trace(0.9), optax.ema(0.9), optax.trace(0.8))
  for base in (None, optax.scale_by_rms(), two):
    tx = neuroplastic(base, modulation=modulations.Momentum())
    message = r"momentum.*params\['a'\].*momentum="
    with pytest.raises(ValueError, match=message):
      tx.init({'a': jnp.ones(3)})


def test_momentum_may_be_given_by_a_function():
  base = optax.trace(0.9)
  given, found = (
    run(neuroplastic(base, modulation=rule), PARAMS, GRADIENTS)[0]
    for rule in (
      modulations.Momentum(momentum=lambda state: state.trace),
      modulations.Momentum(),
    )
  )
  chex.assert_trees_all_equal(given, found)
