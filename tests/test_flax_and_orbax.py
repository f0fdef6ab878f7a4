"""Trained by Flax, saved and restored by Orbax."""

import chex
from flax import nnx
from flax import serialization
import flax.linen as nn
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.running import restored
from tests.running import trained
from tests.settings import SETTINGS
from tests.trees import is_matrix
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import types_of


class _Model(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(3, 5, rngs=rngs)
    self.dropout = nnx.Dropout(0.1, deterministic=True, rngs=rngs)
    self.out = nnx.Linear(5, 2, rngs=rngs)

  def __call__(self, x):
    return self.out(self.dropout(nnx.relu(self.hidden(x))))


_DATA = np.random.default_rng(0).normal(size=(8, 3)).astype('float32')


def _loss(model):
  return jnp.mean(jnp.square(model(_DATA) - 1.0))


def _pure_steps(tx, model, steps):
  """What training a copy of a model must come to, by Optax alone."""
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  gradient = jax.jit(
    jax.grad(lambda params: _loss(nnx.merge(graph, params, rest)))
  )
  params = nnx.as_pure(params)
  state = tx.init(params)
  for _ in range(steps):
    updates, state = tx.update(gradient(params), state, params)
    params = optax.apply_updates(params, updates)
  return params


def _last_layer(params):
  """Labels, by the path that also an nnx model has."""
  label = lambda path, _: 'out' if path[0].key == 'out' else 'body'
  return jax.tree.map_with_path(label, params)


NNX = {
  'chained': optax.chain(neuroplastic(optax.trace(0.9)), optax.scale(-0.01)),
  'partitioned': optax.partition(
    {'body': neuroplastic_optimizer(0.1), 'out': optax.sgd(0.1)}, _last_layer
  ),
  'masked_decay': neuroplastic_optimizer(
    0.1, weight_decay=0.1, weight_decay_mask=is_matrix
  ),
}


@pytest.mark.parametrize('tx', NNX.values(), ids=NNX)
def test_nnx_optimizer(tx):
  model = _Model(nnx.Rngs(0))
  before = _loss(model)
  expected = _pure_steps(tx, model, 5)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

  @nnx.jit
  def step(model, optimizer):
    optimizer.update(model, nnx.grad(_loss)(model))

  for _ in range(5):
    step(model, optimizer)
  params = nnx.as_pure(nnx.state(model, nnx.Param))
  chex.assert_trees_all_close(params, expected, rtol=1e-4, atol=1e-6)
  assert _loss(model) < before


@pytest.mark.parametrize('diagnostics', [None, 'global', 'per_leaf'])
def test_a_train_state_is_serialized(diagnostics):
  model = nn.Sequential([nn.Dense(3), nn.Dense(2)])
  params = model.init(jax.random.key(0), _DATA)['params']
  tx = neuroplastic_optimizer(0.1, diagnostics=diagnostics)
  fresh = train_state.TrainState.create(
    apply_fn=model.apply, params=params, tx=tx
  )
  trained_ = fresh.apply_gradients(grads=params)
  kept = serialization.to_bytes(trained_)
  restored = serialization.from_bytes(fresh, kept)
  chex.assert_trees_all_equal(restored, trained_)
  assert jax.tree.structure(restored) == jax.tree.structure(trained_)
  if diagnostics:
    found = get_diagnostics(restored.opt_state)
    chex.assert_trees_all_equal(found, get_diagnostics(trained_.opt_state))
  restored.apply_gradients(grads=params)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['default', 'adam'])
def test_training_goes_on_from_a_checkpoint(name, tmp_path):
  tx = optax.inject_hyperparams(
    neuroplastic_optimizer, static_args='diagnostics'
  )(0.1, diagnostics='per_leaf', **SETTINGS[name])
  params, gradients = random_tree(0), random_trees(6)
  middle = trained(tx, params, gradients[:3])
  abstract = jax.eval_shape(lambda: (params, tx.init(params)))
  again = restored(tmp_path / 'checkpoint', middle, abstract)
  chex.assert_trees_all_equal(again, middle)
  assert types_of(again) == types_of(middle)
  actual = trained(tx, again[0], gradients[3:], again[1])
  chex.assert_trees_all_equal(actual, trained(tx, params, gradients))
