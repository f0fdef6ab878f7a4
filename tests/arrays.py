"""Example arrays, and the mesh of all eight devices."""

import jax
import jax.numpy as jnp
import numpy as np

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


def all_devices(kind='Auto'):
  """All devices in a row."""
  kinds = (getattr(jax.sharding.AxisType, kind),)
  return jax.make_mesh((8,), ('x',), axis_types=kinds)
