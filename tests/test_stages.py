"""Homeostasis bounds and pulls updates; the controller scales them by group."""

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

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from tests import reference
from tests.running import all_updates
from tests.running import run
from tests.trees import problem
from tests.trees import random_leaves
from tests.trees import seeds
from tests.trees import SHAPES
from tests.trees import shapes

# Sampled, since floats are mostly drawn near 1.
magnitudes = st.sampled_from([1e-30, 1e-20, 1e-8, 1e-3, 1.0, 1e8, 1e20, 1e30])


@jax.jit
def _regulated(gradient, homeostasis):
  """The first update of one gradient."""
  tx = neuroplastic(homeostasis=homeostasis)
  return tx.update(gradient, tx.init(gradient))[0]


@hypothesis.given(
  seed=seeds,
  shape=shapes,
  magnitude=magnitudes.filter(lambda m: m > 1e-10),
  ratio=st.floats(0.01, 10),
)
def test_norm_clip_scales_to_its_bound_at_any_magnitude(
  seed, shape, magnitude, ratio
):
  # However large or small: float32 could not hold the squares of most.
  gradient = np.random.default_rng(seed).normal(size=shape)
  gradient = jnp.asarray(gradient * magnitude, 'float32')
  free = np.asarray(_regulated(gradient, None), np.float64)
  norm = np.linalg.norm(free)
  max_norm = ratio * norm
  clip = Homeostasis(max_update_norm=max_norm, target_rms=None)
  factor = max_norm / (norm + 1e-8) if norm > max_norm else 1.0
  np.testing.assert_allclose(
    _regulated(gradient, clip), factor * free, rtol=1e-5
  )


def test_homeostasis_is_on_without_a_base_and_off_over_one():
  params, gradients = problem(9, 2)

  def updates(base, **arguments):
    return all_updates(neuroplastic(base, **arguments), params, gradients)[0]

  chex.assert_trees_all_equal(
    updates(None), updates(None, homeostasis=Homeostasis())
  )
  chex.assert_trees_all_equal(
    updates(optax.trace(0.9)), updates(optax.trace(0.9), homeostasis=None)
  )


def test_not_a_number_is_not_hidden_by_homeostasis():
  tx = neuroplastic()
  for bad in (jnp.nan, jnp.inf):
    gradient = jnp.array([bad, 1.0, 3e38])
    updates, _ = tx.update(gradient, tx.init(gradient))
    assert not jnp.all(jnp.isfinite(updates))


# Targets by leaf.


@pytest.mark.parametrize(
  'scale',
  [
    {'layer': 2.0, 'scale': 3.0},
    {'layer': {'w': 2.0, 'b': np.float32(2)}, 'scale': jnp.float32(3)},
    lambda params: {'layer': 2.0, 'scale': 3.0 + params['scale'].ndim},
  ],
  ids=['prefix', 'tree', 'function'],
)
def test_target_rms_scale_scales_the_target_of_its_leaves(scale):
  _, (gradient,) = problem(8, 1)
  pull = functools.partial(
    Homeostasis, max_update_norm=1.0, adaptation_rate=0.5
  )

  def updates(homeostasis):
    tx = neuroplastic(homeostasis=homeostasis)
    return all_updates(tx, gradient, [gradient])[0][0]

  scaled = updates(pull(target_rms=0.1, target_rms_scale=scale))
  twice, thrice = updates(pull(target_rms=0.2)), updates(pull(target_rms=0.3))
  chex.assert_trees_all_close(scaled['layer'], twice['layer'], rtol=1e-6)
  chex.assert_trees_all_close(scaled['scale'], thrice['scale'], rtol=1e-6)


def test_target_rms_scale_must_hold_positive_numbers():
  scale = {'w': 1.0, 'b': [2.0, 0.0]}
  message = "target_rms_scale['b'][1] must be a number in (0, inf), got 0.0"
  with pytest.raises(ValueError, match=re.escape(message)):
    Homeostasis(target_rms_scale=scale)
  with pytest.raises(TypeError, match=r"target_rms_scale\['w'\] must be"):
    Homeostasis(target_rms_scale={'w': '1'})
  Homeostasis(target_rms_scale={'w': jnp.float32(-1)})


UPDATES = 8


def _controlled(controller, **kwargs):
  rng = np.random.default_rng(0)
  params, gradients = (
    random_leaves(rng),
    [random_leaves(rng) for _ in range(UPDATES)],
  )
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


def test_controller_does_not_write_the_ratio_of_alphas_to_memory():
  """Words of memory that an element costs beyond an update without it."""
  g = jnp.ones((100, 100))

  def words(**settings):
    tx = neuroplastic(**settings)
    program = jax.jit(tx.update).lower(g, tx.init(g)).compile()
    return program.cost_analysis()['bytes accessed'] / g.nbytes

  # Five words; a ratio that is used twice costs two more.
  assert words(controller=LearningRateController()) - words() < 5.5
