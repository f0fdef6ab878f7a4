"""Example arrays, and the mesh of all eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

_rng = np.random.default_rng(0)


def begin():
  """Begins the random numbers anew, as each test does, in whatever order."""
  global _rng
  _rng = np.random.default_rng(0)


def array(*shape, dtype='float32'):
  """Random numbers, others at every call of a test."""
  return jnp.asarray(_rng.standard_normal(shape), dtype)


PARAMS = {'w': array(4, 6), 'b': array(6)}
GRADIENT = {'w': array(4, 6), 'b': array(6)}


def device_mesh(*kinds, **axes):
  """A mesh of eight devices; where there are fewer, the test is skipped.

  Args:
    *kinds: the type of each axis; one for all axes, by default Auto.
    **axes: the size of each axis; by default eight along x.
  """
  if jax.device_count() < 8:
    pytest.skip('needs eight devices')
  axes = axes or {'x': 8}
  types = [jax.sharding.AxisType[kind] for kind in kinds or ['Auto']]
  if len(types) == 1:
    types *= len(axes)
  return jax.make_mesh((*axes.values(),), (*axes,), axis_types=(*types,))
