"""`units.scale_by_adam`: Adam, but for what is reset."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import units
from tests.running import all_updates
from tests.trees import random_tree
from tests.trees import random_trees


@pytest.mark.parametrize('decays', [(0.9, 0.999), (0.0, 0.5)])
def test_without_resets_it_is_adam(decays):
  params, gradients = random_tree(0), random_trees(20)
  ours, state = all_updates(
    units.scale_by_adam(*decays), params, gradients, compiled=True
  )
  theirs, _ = all_updates(
    optax.scale_by_adam(*decays), params, gradients, compiled=True
  )
  chex.assert_trees_all_close(ours, theirs, rtol=3e-5, atol=1e-6)
  assert state.age['scale'] == 20


def test_what_is_reset_steps_as_at_the_first_update():
  """Under a large count, Adam's own steps would be 6.6 times too large."""
  g = jnp.ones(2)
  mask = jnp.array([True, False])
  largest = {}
  for name, adam in (('ours', units), ('optax', optax)):
    tx = adam.scale_by_adam()
    step, state = jax.jit(tx.update), tx.init(g)
    for _ in range(10000):
      _, state = step(g, state)
    state = mechanisms.reset_state(tx, state, g, mask)
    sizes = []
    for _ in range(20):
      u, state = step(g, state)
      sizes.append(np.asarray(u))
    largest[name] = np.max(sizes, axis=0)
  np.testing.assert_allclose(largest['ours'], 1.0, rtol=1e-4)
  np.testing.assert_allclose(largest['optax'], [6.6, 1.0], rtol=0.01)


def test_momentum_rule_counts_for_each_element():
  params, gradients = random_tree(0), random_trees(3)
  rule = modulations.Momentum(strength=0.5)
  ours, theirs = (
    all_updates(
      neuroplastic(adam.scale_by_adam(), modulation=rule), params, gradients
    )[0]
    for adam in (units, optax)
  )
  chex.assert_trees_all_close(ours, theirs, rtol=3e-5, atol=1e-6)
  tx = neuroplastic(units.scale_by_adam(), modulation=rule)
  _, state = all_updates(tx, params, gradients)
  mask = {'dense': {'kernel': True, 'bias': False}, 'scale': False}
  base = mechanisms.reset_state(units.scale_by_adam(), state.base, params, mask)
  updates, _ = tx.update(gradients[0], state._replace(base=base), params)
  # m̂ of one gradient is the gradient: all as at a first update of the base.
  first = neuroplastic(units.scale_by_adam(), modulation=rule)
  fresh = state._replace(base=units.scale_by_adam().init(params))
  expected, _ = first.update(gradients[0], fresh, params)
  chex.assert_trees_all_close(
    updates['dense']['kernel'], expected['dense']['kernel'], rtol=1e-5
  )


def test_bad_numbers_are_refused():
  for bad, name in (
    ({'b1': 1.0}, 'b1'),
    ({'b2': -1}, 'b2'),
    ({'eps': 0}, 'eps'),
  ):
    with pytest.raises(ValueError, match=f'{name} must be'):
      units.scale_by_adam(**bad)
