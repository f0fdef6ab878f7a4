"""The base's momentum is found by its meaning, or refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.running import run

P = {'a': (3, 4), 'b': (5,)}


def _tree(rng):
  return {
    name: jnp.asarray(rng.standard_normal(shape), 'float32')
    for name, shape in P.items()
  }


# The base, and the decay of its momentum; None for a `trace`.
MOMENTA = {
  'trace': (optax.trace(0.8), None),
  'adam': (optax.scale_by_adam(), 0.9),
  'lion': (optax.scale_by_lion(b2=0.95), 0.95),
  'clipped': (
    optax.chain(optax.clip_by_global_norm(0.1), optax.scale_by_adam(b1=0.85)),
    0.85,
  ),
  'injected': (optax.inject_hyperparams(optax.scale_by_adam)(b1=0.6), 0.6),
  'masked': (
    optax.chain(
      optax.masked(optax.trace(0.9), {'a': True, 'b': False}),
      optax.masked(optax.scale_by_adam(b1=0.5), {'a': False, 'b': True}),
    ),
    0.5,
  ),
  'partition': (
    optax.partition(
      {'x': optax.scale_by_adam(b1=0.75), 'y': optax.trace(0.4)},
      {'a': 'x', 'b': 'y'},
    ),
    0.75,
  ),
}


@pytest.mark.parametrize('name', list(MOMENTA))
def test_momentum_is_found_by_name_and_debiased_by_decay(name):
  base, decay = MOMENTA[name]
  base = optax.with_extra_args_support(base)
  rng = np.random.default_rng(0)
  params, gradients = _tree(rng), [_tree(rng) for _ in range(3)]
  given = {} if decay in (None, 0.9) else {'decay': decay}
  rule = modulations.Momentum(strength=0.3, max_ratio=1e6, **given)
  # With one α for all, u - b is the strength times (α - 1) times m̂.
  tx = neuroplastic(
    base, modulation=rule, min_alpha=3.0, max_alpha=3.0, homeostasis=None
  )
  updates, state = run(tx, params, gradients)
  plain, _ = run(base, params, gradients)

  def held(field, leaf):
    found = optax.tree.get_all_with_path(state.base, field)
    trees = [tree for _, tree in found if isinstance(tree, dict)]
    kept = [t[leaf] for t in trees if not isinstance(t[leaf], optax.MaskedNode)]
    return kept[0] if kept else None

  for leaf in params:
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
