"""Long runs: nothing drifts."""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from tests.trees import types_of

CHUNK, CHUNKS = 50_000, 20

LONG = {
  'as_published': dict(controller=LearningRateController()),
  'gain_over_adam': dict(
    base=optax.scale_by_adam(), modulation=modulations.Gain(0.5)
  ),
  'bfloat16': dict(state_dtype='bfloat16'),
}


def _megabytes():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.parametrize('settings', LONG.values(), ids=LONG)
def test_a_million_updates(settings, compiled):
  tx = neuroplastic_optimizer(
    optax.cosine_decay_schedule(0.05, CHUNK * CHUNKS), **settings
  )
  target = jnp.linspace(-1.0, 1.0, 8)

  def update(i, carried):
    params, state = carried
    # A noisy quadratic, whose noise never repeats.
    noise = jnp.sin(i * jnp.arange(1.0, 9.0)) * 10.0 ** (i % 7 - 3)
    gradient = {'w': params['w'] - target + noise, 'b': params['b']}
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  @jax.jit
  def chunk(first, carried):
    return jax.lax.fori_loop(first, first + CHUNK, update, carried)

  params = {'w': jnp.zeros(8), 'b': jnp.ones([])}
  carried = params, tx.init(params)
  expected = types_of(carried)
  for i in range(CHUNKS):
    carried = chunk(jnp.int32(i * CHUNK), carried)
    assert types_of(carried) == expected
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(carried))
    if i == 1:
      before = _megabytes()
  assert compiled.count('jit(chunk)') == 1
  assert _megabytes() < before + 20
  leaves = jax.tree.leaves(carried[1])
  (count,) = {int(x) for x in leaves if x.dtype == jnp.int32}
  assert count == CHUNKS * CHUNK
  assert abs(float(carried[0]['b'])) < 0.5
