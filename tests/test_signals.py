"""The moments of the signals are true averages, also in few bits."""

import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import neuroplastic
from tests.running import all_updates


def test_moments_are_the_averages_they_are_said_to_be():
  gradient = {'w': jnp.array([3.0, -4.0])}
  tx = neuroplastic(activity_decay=0.5, memory_b1=0.75, memory_b2=0.875)
  _, state = all_updates(tx, gradient, [gradient] * 2)
  np.testing.assert_allclose(state.activity['w'], [2.25, 3.0])
  np.testing.assert_allclose(state.memory_mu['w'], [1.3125, -1.75])
  np.testing.assert_allclose(state.memory_nu['w'], [2.109375, 3.75])
