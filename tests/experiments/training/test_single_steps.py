"""Steps, taken apart on cases worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training import single_steps


def test_step_worked_by_hand():
  gradient = jnp.array([[3.0, -4.0], [0.0, 0.0]])  # rms is 2.5.
  step = jnp.array([[-0.3, 0.8], [0.0, 0.5]])
  found = single_steps.take_apart(gradient, step)
  assert found['size'] == 4
  # Both 3 / 2.5 and 4 / 2.5 are from 1 to 2; what has no gradient is nowhere.
  place = -single_steps.FIRST
  assert found['elements'][place] == found['elements'].sum() == 2
  # The rates are 0.1 and 0.2, their weights 3/7 and 4/7.
  spread = 0.1 * np.sqrt(12 / 49) / (1.1 / 7)
  for name, expected in (
    ('gradient', 7.0),
    ('descent', 1.1),
    ('gradient_rms', 2.5),
    ('step_rms', np.sqrt(0.98 / 4)),
    ('step_carriers', 1.6**2 / (4 * 0.98)),
    ('gradient_carriers', 49 / 100),
    ('rate_spread', spread),
  ):
    np.testing.assert_allclose(found[name].sum(), expected, rtol=1e-6)


def test_climbing_element_has_a_negative_rate():
  found = single_steps.take_apart(jnp.array([1.0, -4.0]), jnp.array([0.1, 0.8]))
  np.testing.assert_allclose(
    found['descent'][found['elements'] > 0], [-0.1, 0.8], rtol=1e-6
  )
  # The rates are -0.1 and 0.2, their weights 1/5 and 4/5.
  np.testing.assert_allclose(found['rate_spread'], 0.12 / 0.14, rtol=1e-6)


@pytest.mark.parametrize(
  ('step', 'share'),
  [([0.0] * 8, 0.0), ([2.0] * 8, 1.0), ([0.0] * 7 + [5.0], 1 / 8)],
)
def test_carriers_of_a_step(step, share):
  found = single_steps.take_apart(jnp.zeros(8), jnp.array(step))
  np.testing.assert_allclose(found['step_carriers'], share, rtol=1e-6)
  assert found['elements'].sum() == 0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_gradients_of_extreme_size_are_counted():
  gradient = jnp.array([1e-30, 1.0, 1.0, 1.0])
  found = single_steps.take_apart(gradient, gradient)
  assert found['elements'][0] == 1
  assert found['elements'].sum() == 4
  np.testing.assert_allclose(found['rate_spread'], 0.0, atol=1e-6)
