"""The coefficient α of a tensor, and the moments that it is made of."""

import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import _leaf
from neuroplastic_optax import neuroplastic
from tests.trees import array
from tests.trees import seeds
from tests.trees import shapes


def _memory(mu, nu, eps):
  return _leaf.memory_signal(jnp.abs(mu), nu, eps)


def test_a_memory_that_is_held_has_the_derivative_0():
  """In both modes: backwards, its quotient overflows."""
  numbers = jnp.float32(2.0), jnp.float32(0), jnp.float32(1e-35)
  assert _memory(*numbers) == 2.0**100
  for mode in (jax.jacfwd, jax.jacrev):
    found = mode(_memory, (0, 1, 2))(*numbers)
    assert not np.any(found)


@pytest.mark.parametrize('mode', [jax.jacfwd, jax.jacrev])
def test_a_second_moment_of_0_has_no_part_in_the_derivative(mode):
  """Its root has none there; the other numbers have theirs."""
  mu, eps = jnp.float32(3.0), jnp.float32(0.5)
  found = mode(_memory, (0, 1, 2))(mu, jnp.float32(0.0), eps)
  np.testing.assert_allclose(found, [1 / eps, 0.0, -mu / eps**2], rtol=1e-6)


def test_memory_is_finite_where_its_second_moment_vanished():
  # A state in which v vanished where m did not: |m| / ε is beyond float32.
  tx = neuroplastic(eps=2e-38, homeostasis=None)
  gradient = jnp.array([100.0, -50.0])
  state = tx.init(gradient)._replace(memory_mu=gradient)
  for g in (0 * gradient, gradient):
    updates, state = tx.update(g, state)
    chex.assert_tree_all_finite((updates, state))


# Moments kept in a low precision.


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
  nu = np.asarray(state.memory_nu, np.float32)
  assert np.all(nu < 0.5 * (10 * gradient) ** 2)


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


# Numbers are traced, so that one compilation serves for all of them.
@functools.partial(jax.jit, static_argnames=('gradient_only', 'parameterwise'))
def _alphas(gradients, **arguments):
  """α of a tensor at each update, as what its gradient is multiplied by."""
  tx = neuroplastic(homeostasis=None, **arguments)
  state, alphas = tx.init(gradients[0]), []
  for gradient in gradients:
    updates, state = tx.update(gradient, state)
    alphas.append(updates / gradient)
  return jnp.stack(alphas)


@hypothesis.given(
  seed=seeds, shape=shapes, factor=st.floats(1e-6, 1e6), scale=st.floats(0, 2)
)
def test_alpha_does_not_depend_on_the_scale_of_gradients(
  seed, shape, factor, scale
):
  rng = np.random.default_rng(seed)
  gradients = [array(rng, shape) for _ in range(3)]
  alphas = functools.partial(_alphas, plasticity_scale=scale, eps=1e-25)
  scaled = [g * jnp.float32(factor) for g in gradients]
  np.testing.assert_allclose(
    alphas(scaled), alphas(gradients), rtol=1e-4, atol=1e-5
  )


def test_extrapolated_alpha_leaves_its_bounds():
  # Activity lags behind a gradient that moves from one element to the other.
  gradients = [jnp.array([3.0, 1e-3]), jnp.array([1e-3, 3.0])]
  alpha = _alphas(gradients, plasticity_scale=5.0)
  assert np.min(alpha) < 0
  assert np.max(alpha) > 2


@pytest.mark.parametrize('shape', [(), (1,), (1, 1, 1)])
def test_leaves_of_one_element_are_inert(shape):
  # The one element is its own mean.
  rng = np.random.default_rng(0)
  gradients = [array(rng, shape) for _ in range(10)]
  alpha = _alphas(gradients, plasticity_scale=2.0)
  np.testing.assert_allclose(alpha, 1.0, rtol=1e-4)


# One α for all of a tensor.


def test_one_alpha_per_tensor_is_the_sum_of_weights():
  rng = np.random.default_rng(0)
  gradients = [array(rng, (3, 4)) for _ in range(3)]
  weights = dict(activity_weight=0.6, gradient_weight=0.5, memory_weight=0.4)
  alpha = _alphas(gradients, parameterwise=False, **weights)
  np.testing.assert_allclose(alpha, 1.5, rtol=1e-4)
  alpha = _alphas(gradients, parameterwise=False, max_alpha=1.2, **weights)
  np.testing.assert_allclose(alpha, 1.2, rtol=1e-4)
