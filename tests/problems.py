"""Problems of all magnitudes, for what must hold of any."""

import functools

from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np

seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from([(), (1,), (7,), (3, 4), (2, 3, 5)])


def array(rng, shape, dtype='float32'):
  """Random, its elements of many magnitudes."""
  x = rng.normal(size=shape) * 10 ** rng.uniform(-2, 2, size=shape)
  if jnp.issubdtype(dtype, jnp.complexfloating):
    x = x * np.exp(2j * np.pi * rng.uniform(size=shape))
  return jnp.asarray(x, dtype)


def _tree(rng, dtype):
  draw = functools.partial(array, rng, dtype=dtype)
  return {'layer': {'w': draw((3, 4)), 'b': draw((4,))}, 'scale': draw(())}


def problem(seed, steps, dtype='float32'):
  """Random params, and a gradient for each of the steps."""
  rng = np.random.default_rng(seed)
  return _tree(rng, dtype), [_tree(rng, dtype) for _ in range(steps)]
