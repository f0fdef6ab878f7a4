"""The moments of the signals are true averages, also in few bits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import _leaf
from neuroplastic_optax import neuroplastic
from tests.running import all_updates


def _memory(mu, nu, eps):
  return _leaf.memory_signal(jnp.abs(mu), nu, eps)


def test_moments_are_the_averages_they_are_said_to_be():
  gradient = {'w': jnp.array([3.0, -4.0])}
  tx = neuroplastic(activity_decay=0.5, memory_b1=0.75, memory_b2=0.875)
  _, state = all_updates(tx, gradient, [gradient] * 2)
  np.testing.assert_allclose(state.activity['w'], [2.25, 3.0])
  np.testing.assert_allclose(state.memory_mu['w'], [1.3125, -1.75])
  np.testing.assert_allclose(state.memory_nu['w'], [2.109375, 3.75])


def test_the_derivative_of_the_memory_is_that_of_its_formula():
  """Written out, since √v has none at 0."""
  mu, nu = jnp.asarray([0.3, -2.0, 1e-3]), jnp.asarray([0.5, 1e-4, 4.0])
  eps = jnp.float32(0.01)
  plain = lambda mu, nu, eps: jnp.abs(mu) / (jnp.sqrt(nu) + eps)
  for which in range(3):
    exact, found = (
      jax.jacobian(f, which)(mu, nu, eps) for f in (plain, _memory)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-5)


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


def test_memory_outlives_its_second_moment():
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
