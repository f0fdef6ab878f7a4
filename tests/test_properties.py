"""What holds of any tree, any numbers and any chain of transformations."""

import chex
from flax import serialization
import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np
import optax
import pytest

from tests import strategies
from tests.arrays import device_mesh
from tests.trees import types_of

# Each example compiles its operations.
pytestmark = pytest.mark.slow

STEPS = 3
WIDE = ('float32',)
# Those that compile a training for every example.
few = hypothesis.settings(
  max_examples=max(1, hypothesis.settings().max_examples * 2 // 5)
)


def _problem(form, seed, exponent=0.0):
  """Params, and a gradient for each step."""
  params, *gradients = (
    strategies.filled(form, seed + i, exponent * (i > 0))
    for i in range(1 + STEPS)
  )
  return params, gradients


def _train(tx, params, gradients):
  """Params and state in the end."""
  state = tx.init(params)
  for gradient in gradients:
    updates, state = tx.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def _compare(actual, expected):
  """Equal but for what compilation rounds otherwise."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for x, y in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    if jnp.issubdtype(x.dtype, jnp.floating):
      np.testing.assert_allclose(
        np.asarray(x, float), np.asarray(y, float), rtol=1e-4, atol=1e-5
      )


def _is_finite(tree):
  return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree))


@given(
  strategies.forms(),
  strategies.our_chains,
  strategies.seeds,
  st.sampled_from([-30.0, -3.0, 0.0, 3.0, 30.0]),
)
def test_all_stays_finite_and_of_its_type(form, tx, seed, exponent):
  """Of Optax's, some divide 0 by 0 in float16."""
  params, gradients = _problem(form, seed, exponent)
  state = tx.init(params)
  for gradient in gradients:
    updates, after = tx.update(gradient, state, params)
    assert types_of(updates) == types_of(params)
    assert types_of(after) == types_of(state)
    assert _is_finite(updates)
    state = after


@few
@given(strategies.forms(dtypes=WIDE), strategies.chains, strategies.seeds)
def test_compiled_is_not_compiled(form, tx, seed):
  params, gradients = _problem(form, seed)
  compiled = jax.jit(lambda *problem: _train(tx, *problem))(params, gradients)
  _compare(compiled, _train(tx, params, gradients))


@few
@given(
  strategies.forms(dtypes=WIDE, most=2), strategies.chains, strategies.seeds
)
def test_mapped_is_a_loop(form, tx, seed):
  problems = [_problem(form, seed + 10 * i) for i in range(2)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *problems)
  mapped = jax.vmap(lambda *problem: _train(tx, *problem))(*stacked)
  for i, problem in enumerate(problems):
    _compare(jax.tree.map(lambda x, i=i: x[i], mapped), _train(tx, *problem))


@few
@given(
  strategies.forms(shapes=((8, 3), (16,), (8, 2, 2)), dtypes=WIDE, most=2),
  strategies.chains,
  strategies.seeds,
)
def test_sharded_is_whole(form, tx, seed):
  params, gradients = _problem(form, seed)
  train = jax.jit(lambda *problem: _train(tx, *problem))
  rows = NamedSharding(device_mesh(), jax.P('x'))
  _compare(
    train(*jax.device_put((params, gradients), rows)),
    train(params, gradients),
  )


@given(strategies.forms(), strategies.chains, strategies.seeds)
def test_a_state_goes_on_from_where_it_was_saved(form, tx, seed):
  params, gradients = _problem(form, seed)
  state = _train(tx, params, gradients[:-1])[1]
  saved = serialization.to_bytes(state)
  restored = serialization.from_bytes(tx.init(params), saved)
  chex.assert_trees_all_equal(restored, state)
  restored = jax.tree.map(jnp.asarray, restored)
  chex.assert_trees_all_equal(
    tx.update(gradients[-1], restored, params),
    tx.update(gradients[-1], state, params),
  )


@given(strategies.forms(dtypes=WIDE), strategies.alike_chains, strategies.seeds)
def test_elements_in_another_order_end_in_that_order(form, tx, seed):
  problem = _problem(form, seed)

  def shuffled(x):
    order = np.random.default_rng(x.size).permutation(x.size)
    return x.reshape(-1)[order].reshape(x.shape)

  moved = jax.tree.map(shuffled, problem)
  expected = jax.tree.map(shuffled, _train(tx, *problem)[0])
  _compare(_train(tx, *moved)[0], expected)


@given(
  st.lists(strategies.forms(dtypes=WIDE, most=2), min_size=2, max_size=3),
  strategies.alike_chains,
  strategies.seeds,
)
def test_leaves_in_another_order_end_in_that_order(form, tx, seed):
  params, gradients = _problem(form, seed)
  reverse = lambda trees: trees[::-1]
  expected = reverse(_train(tx, params, gradients)[0])
  actual = _train(tx, reverse(params), [*map(reverse, gradients)])[0]
  _compare(actual, expected)
