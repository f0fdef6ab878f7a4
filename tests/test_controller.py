"""The learning-rate controller: against the equations, by group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from tests import reference
from tests.running import run
from tests.trees import random_leaves
from tests.trees import SHAPES

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


def test_the_ratio_of_the_alphas_is_not_written_to_memory():
  """Words of memory that an element costs beyond an update without it."""
  g = jnp.ones((100, 100))

  def words(**settings):
    tx = neuroplastic(**settings)
    program = jax.jit(tx.update).lower(g, tx.init(g)).compile()
    return program.cost_analysis()['bytes accessed'] / g.nbytes

  # Five words; a ratio that is used twice costs two more.
  assert words(controller=LearningRateController()) - words() < 5.5
