"""Params and gradients to try things on, and what to ask of them."""

import functools

from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import NeuroplasticState

PARAMS = {'w': jnp.ones((2, 3)), 'b': jnp.ones(3)}

SHAPES = [(3, 4), (5,), (), (2, 2, 3)]


def random_leaves(rng, dtype='float32', scale=1.0):
  """A list of random leaves, of `SHAPES`."""
  return [
    jnp.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES
  ]


def random_tree(seed, dtype='float32'):
  """A tree of random leaves, one of them 0-d."""
  rng = np.random.default_rng(seed)

  def leaf(*shape):
    x = rng.normal(size=shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
      x = x + 1j * rng.normal(size=shape)
    return jnp.asarray(x, dtype)

  return {'dense': {'kernel': leaf(3, 4), 'bias': leaf(4)}, 'scale': leaf()}


def random_trees(count, dtype='float32'):
  """Trees like `random_tree`, each of a seed of its own."""
  return [random_tree(seed + 1, dtype) for seed in range(count)]


def types_of(tree):
  """Shape, dtype and weak type of every leaf."""
  return jax.tree.map(jax.typeof, tree)


def stack(trees):
  """One tree, of stacks of the leaves of these."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def is_matrix(params):
  """Whether a leaf has more than one axis, of every leaf."""
  return jax.tree.map(lambda x: jnp.ndim(x) > 1, params)


@jax.tree_util.register_pytree_node_class
class Checked:
  """A node that refuses a leaf of another shape."""

  def __init__(self, x):
    assert x.shape == (2, 3)
    self.x = x

  def tree_flatten(self):
    return (self.x,), None

  @classmethod
  def tree_unflatten(cls, _, leaves):
    return cls(*leaves)


def is_ours(path, value):
  """Whether a field found by `optax.tree.get` is of `NeuroplasticState`."""
  del value
  return getattr(path[-1], 'tuple_name', None) == NeuroplasticState.__name__


# Problems of all magnitudes, for what must hold of any.

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
