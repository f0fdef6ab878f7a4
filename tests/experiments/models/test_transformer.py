"""A model of scanned layers, and what the optimizer makes of its stacks."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import models
from experiments.models import transformer
from neuroplastic_optax import neuroplastic_optimizer

LAYERS = 2


def _model(seed=0):
  return transformer.Transformer(
    vocabulary=11, width=16, layers=LAYERS, heads=2, rngs=nnx.Rngs(seed)
  )


def _loss(graphdef, params, tokens):
  logits = nnx.merge(graphdef, params, copy=True)(tokens[:, :-1])
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
  )


def _tokens():
  """Sequences in which each token says what the next one is."""
  start = jnp.arange(8)[:, None]
  return (start + 3 * jnp.arange(9)) % 11


def test_layers_are_stacked_and_differ():
  params = nnx.state(_model(), nnx.Param)
  kernel = params['blocks']['up']['kernel'][...]
  assert kernel.shape == (LAYERS, 16, 64)
  assert not np.allclose(kernel[0], kernel[1])
  axes = jax.tree.map_with_path(transformer.stacked_axes, params)
  assert set(jax.tree.leaves(axes['blocks'])) == {1}
  del axes['blocks']
  assert set(jax.tree.leaves(axes)) == {0}


def test_no_token_sees_those_after_it():
  model, tokens = _model(), _tokens()
  changed = tokens.at[:, 5:].set(0)
  np.testing.assert_allclose(
    model(tokens)[:, :5], model(changed)[:, :5], rtol=1e-5, atol=1e-5
  )


@pytest.mark.slow
def test_a_scanned_model_trains():
  graphdef, params = nnx.split(_model(), nnx.Param)
  tokens = _tokens()
  loss = jax.jit(lambda params: _loss(graphdef, params, tokens))
  tx = neuroplastic_optimizer(
    0.1, weight_decay=0.01, stacked_axes=transformer.stacked_axes
  )
  before, state = loss(params), tx.init(params)
  gradient, update = jax.jit(jax.grad(loss)), jax.jit(tx.update)
  for _ in range(20):
    updates, state = update(gradient(params), state, params)
    params = optax.apply_updates(params, updates)
  assert loss(params) < 0.5 * before


def test_parameter_trees_have_the_stated_sizes():
  millions = {
    name: models.count(tree.params()) / 1e6
    for name, tree in models.trees().items()
  }
  assert round(millions['mlp'], 2) == 0.27
  assert round(millions['resnet18']) == 11
  assert round(millions['stack']) == 33
  assert round(millions['stack1b'], -1) == 1020
