"""Params and gradients to try things on, and what to ask of them."""

import jax.numpy as jnp

PARAMS = {'w': jnp.ones((2, 3)), 'b': jnp.ones(3)}

SHAPES = [(3, 4), (5,), (), (2, 2, 3)]


def random_leaves(rng, dtype='float32', scale=1.0):
  """A list of random leaves, of `SHAPES`."""
  return [
    jnp.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES
  ]
