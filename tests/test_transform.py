"""The direction: identities, symmetries, the base and coupled decay."""

import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.problems import array
from tests.problems import problem
from tests.problems import seeds
from tests.running import all_updates
from tests.settings import NEUTRAL

# Identities, bit for bit.

BASES = {
  'none': None,
  'trace': optax.trace(0.9),
  'adam': optax.scale_by_adam(),
  'lion': optax.lion(1e-3),
  'adamw': optax.adamw(1e-3),
  'chain': optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)),
}


def _modes(name, others):
  """Eager and compiled, and compiled in other dtypes than float32."""
  modes = [(name, 'float32', False), (name, 'float32', True)]
  return modes + [(name, dtype, True) for dtype in others]


@pytest.mark.parametrize(
  ('name', 'dtype', 'compiled'),
  [
    mode
    for name in BASES
    for mode in _modes(
      name, ['bfloat16', 'complex64'] if name in ('none', 'adam') else []
    )
  ],
)
def test_neutral_alpha_is_the_base(name, dtype, compiled):
  base = BASES[name]
  params, gradients = problem(0, 3, dtype)
  actual, state = all_updates(
    neuroplastic(base, **NEUTRAL), params, gradients, compiled
  )
  expected, base_state = all_updates(
    base or optax.identity(), params, gradients, compiled
  )
  chex.assert_trees_all_equal(actual, expected)
  chex.assert_trees_all_equal(state.base, base_state)


GRADIENT_ONLY = {
  'published': {},
  'per_tensor': dict(parameterwise=False, min_alpha=0.5),
  'over_a_base': dict(
    base=optax.trace(0.9), homeostasis=Homeostasis(0.3), weight_decay=0.1
  ),
}


@pytest.mark.parametrize(
  ('name', 'dtype', 'compiled'),
  [
    mode
    for name in GRADIENT_ONLY
    for mode in _modes(
      name, ['bfloat16', 'complex64'] if name == 'published' else []
    )
  ],
)
def test_gradient_only_is_plasticity_scale_zero(name, dtype, compiled):
  params, gradients = problem(1, 3, dtype)
  actual, expected = (
    all_updates(
      neuroplastic(**GRADIENT_ONLY[name], **ablation),
      params,
      gradients,
      compiled,
    )[0]
    for ablation in (dict(gradient_only=True), dict(plasticity_scale=0.0))
  )
  chex.assert_trees_all_equal(actual, expected)


# Symmetries.

DTYPES = ('bfloat16', 'float32', 'complex64')

DECAYING = neuroplastic(weight_decay=0.1)


@hypothesis.given(seed=seeds, dtype=st.sampled_from(DTYPES))
def test_the_opposite_gradients_give_the_opposite_updates(seed, dtype):
  params, gradients = problem(seed, 3, dtype)
  negate = functools.partial(jax.tree.map, jnp.negative)
  tx = DECAYING
  actual, _ = all_updates(tx, negate(params), [negate(g) for g in gradients])
  expected, _ = all_updates(tx, params, gradients)
  chex.assert_trees_all_equal(actual, [negate(u) for u in expected])


@hypothesis.given(seed=seeds)
def test_the_shape_of_a_tensor_does_not_matter(seed):
  rng = np.random.default_rng(seed)
  params, *gradients = (array(rng, (4, 6)) for _ in range(4))
  tx = DECAYING
  expected, _ = all_updates(tx, params, gradients)
  for shape in ((24,), (2, 3, 4)):
    actual, _ = all_updates(
      tx, params.reshape(shape), [g.reshape(shape) for g in gradients]
    )
    flat = [u.reshape(4, 6) for u in actual]
    chex.assert_trees_all_close(flat, expected, rtol=1e-5, atol=1e-7)


@hypothesis.given(seed=seeds)
def test_tensors_do_not_mix(seed):
  params, gradients = problem(seed, 3)
  tx = DECAYING
  together, _ = all_updates(tx, params, gradients)
  alone = lambda tree: tree['layer']['w']
  expected, _ = all_updates(tx, alone(params), list(map(alone, gradients)))
  chex.assert_trees_all_close(
    list(map(alone, together)), expected, rtol=1e-5, atol=1e-7
  )


# The base.


def test_alpha_comes_from_the_raw_gradient():
  params, gradients = problem(10, 3)
  # Whatever the base makes of a gradient, α is what it is without a base.
  constant = optax.stateless(
    lambda updates, params: jax.tree.map(jnp.ones_like, updates)
  )
  alpha, _ = all_updates(neuroplastic(constant), params, gradients)
  updates, _ = all_updates(neuroplastic(homeostasis=None), params, gradients)
  expected = [
    jax.tree.map(lambda a, g: a * g, a, g)
    for a, g in zip(alpha, gradients, strict=True)
  ]
  chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_the_base_gets_params_and_extra_args():
  def update(updates, state, params, *, factor, **_):
    return jax.tree.map(lambda u, p: factor * p, updates, params), state

  base = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
  params, (gradient,) = problem(11, 1)
  for tx, sign in (
    (neuroplastic(base, **NEUTRAL), 1),
    (neuroplastic_optimizer(1.0, base=base, **NEUTRAL), -1),
  ):
    updates, _ = tx.update(gradient, tx.init(params), params, factor=3.0)
    expected = jax.tree.map(lambda p, sign=sign: sign * 3.0 * p, params)
    chex.assert_trees_all_equal(updates, expected)


# Weight decay.


@pytest.mark.parametrize(
  'weight_decay', [0.1, optax.linear_schedule(0.0, 0.2, 3)]
)
@pytest.mark.parametrize('mask', [None, {'layer': True, 'scale': False}])
def test_coupled_decay_without_homeostasis_is_added(weight_decay, mask):
  params, gradients = problem(4, 4)
  bare = neuroplastic(homeostasis=None)
  actual, _ = all_updates(
    neuroplastic(
      homeostasis=None, weight_decay=weight_decay, weight_decay_mask=mask
    ),
    params,
    gradients,
  )
  decay = optax.add_decayed_weights(weight_decay, mask)
  expected, _ = all_updates(optax.chain(bare, decay), params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)
