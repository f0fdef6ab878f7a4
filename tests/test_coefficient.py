"""The plasticity coefficient α: its bounds, its scale, where it is 1."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import neuroplastic
from tests.problems import array
from tests.problems import seeds
from tests.problems import shapes


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


@hypothesis.given(
  seed=seeds,
  shape=shapes,
  low=st.floats(0, 1),
  width=st.floats(0, 2),
  scale=st.floats(0, 1),
)
def test_alpha_stays_within_its_bounds(seed, shape, low, width, scale):
  rng = np.random.default_rng(seed)
  gradients = [array(rng, shape) for _ in range(3)]
  alpha = _alphas(
    gradients, min_alpha=low, max_alpha=low + width, plasticity_scale=scale
  )
  assert np.min(alpha) >= low * (1 - 1e-5) - 1e-6
  assert np.max(alpha) <= (low + width) * (1 + 1e-5) + 1e-6


@pytest.mark.slow
@hypothesis.given(seed=seeds, shape=shapes, scale=st.floats(0, 5))
def test_alpha_is_extrapolated_and_not_clipped_again(seed, shape, scale):
  rng = np.random.default_rng(seed)
  gradients = [array(rng, shape) for _ in range(4)]
  gradient_only = _alphas(gradients, gradient_only=True)
  full = _alphas(gradients)
  np.testing.assert_allclose(
    _alphas(gradients, plasticity_scale=scale),
    gradient_only + scale * (full - gradient_only),
    rtol=1e-4,
    atol=1e-4,
  )


def test_extrapolated_alpha_leaves_its_bounds():
  # Activity lags behind a gradient that moves from one element to the other.
  gradients = [jnp.array([3.0, 1e-3]), jnp.array([1e-3, 3.0])]
  alpha = _alphas(gradients, plasticity_scale=5.0)
  assert np.min(alpha) < 0
  assert np.max(alpha) > 2


@hypothesis.given(seed=seeds, shape=shapes)
def test_all_but_memory_agree_at_first(seed, shape):
  # From zero, activity is (1 - ρ)·|g|, which normalises to what |g| does, and
  # memory (1 - β₁) / √(1 - β₂) everywhere that g is not 0.
  gradient = [array(np.random.default_rng(seed), shape)]
  weights = dict(activity_weight=0.7, gradient_weight=0.3, memory_weight=0.0)
  np.testing.assert_allclose(
    _alphas(gradient, **weights),
    _alphas(gradient, gradient_only=True),
    rtol=1e-4,
  )
  weights = dict(activity_weight=0.0, gradient_weight=0.0, memory_weight=1.0)
  np.testing.assert_allclose(_alphas(gradient, **weights), 1.0, rtol=1e-3)


@pytest.mark.parametrize('shape', [(), (1,), (1, 1, 1)])
def test_leaves_of_one_element_are_inert(shape):
  # The one element is its own mean.
  rng = np.random.default_rng(0)
  gradients = [array(rng, shape) for _ in range(10)]
  alpha = _alphas(gradients, plasticity_scale=2.0)
  np.testing.assert_allclose(alpha, 1.0, rtol=1e-4)


# One α for all of a tensor.


@hypothesis.given(seed=seeds, shape=shapes, scale=st.floats(0, 2))
def test_one_alpha_per_tensor_is_inert(seed, shape, scale):
  # The mean of a mean-normalised signal is 1.
  rng = np.random.default_rng(seed)
  gradients = [array(rng, shape) for _ in range(3)]
  alpha = _alphas(gradients, parameterwise=False, plasticity_scale=scale)
  np.testing.assert_allclose(alpha, 1.0, rtol=1e-4)


def test_one_alpha_per_tensor_is_the_sum_of_weights():
  rng = np.random.default_rng(0)
  gradients = [array(rng, (3, 4)) for _ in range(3)]
  weights = dict(activity_weight=0.6, gradient_weight=0.5, memory_weight=0.4)
  alpha = _alphas(gradients, parameterwise=False, **weights)
  np.testing.assert_allclose(alpha, 1.5, rtol=1e-4)
  alpha = _alphas(gradients, parameterwise=False, max_alpha=1.2, **weights)
  np.testing.assert_allclose(alpha, 1.2, rtol=1e-4)


@hypothesis.given(seed=seeds, magnitude=st.floats(1e-3, 1e3))
def test_one_alpha_per_tensor_is_that_of_equal_magnitudes(seed, magnitude):
  # Where all elements are alike, an α for each is an α for all.
  signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(5, 3, 4))
  gradients = list(jnp.asarray(signs * magnitude, 'float32'))
  one = dict(activity_weight=1.0, gradient_weight=0.5, memory_weight=0.0)
  np.testing.assert_allclose(
    _alphas(gradients, parameterwise=True, **one),
    _alphas(gradients, parameterwise=False, **one),
    rtol=1e-5,
  )
