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
def test_a_scanned_model_trains_as_one_of_separate_layers():
  """Real gradients of a real scanned model; every layer is a tensor."""
  graphdef, params = nnx.split(_model(), nnx.Param)
  tokens = _tokens()
  gradient = jax.jit(jax.grad(lambda params: _loss(graphdef, params, tokens)))

  def apart(tree):
    """The same, with a leaf for each layer."""
    tree = nnx.to_pure_dict(tree)
    blocks = tree.pop('blocks')
    layers = [jax.tree.map(lambda x, i=i: x[i], blocks) for i in range(LAYERS)]
    return {**tree, 'layers': layers}

  make = lambda **kwargs: neuroplastic_optimizer(
    0.1, weight_decay=0.01, **kwargs
  )
  stacked = make(stacked_axes=transformer.stacked_axes)
  separate = make()
  state, state_apart = stacked.init(params), separate.init(apart(params))
  before = _loss(graphdef, params, tokens)
  update, update_apart = jax.jit(stacked.update), jax.jit(separate.update)
  for _ in range(20):
    g = gradient(params)
    u, state = update(g, state, params)
    v, state_apart = update_apart(apart(g), state_apart, apart(params))
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
      apart(u),
      v,
    )
    params = optax.apply_updates(params, u)
  assert _loss(graphdef, params, tokens) < 0.5 * before
  # Without being told, it would take all layers for one tensor.
  fooled = make()
  w, _ = jax.jit(fooled.update)(g, fooled.init(params), params)
  assert not np.allclose(
    w['blocks']['up']['kernel'][...],
    u['blocks']['up']['kernel'][...],
    rtol=1e-2,
    atol=1e-6,
  )


def test_parameter_trees_have_the_stated_sizes():
  millions = {
    name: models.count(tree.params()) / 1e6
    for name, tree in models.trees().items()
  }
  assert round(millions['mlp'], 2) == 0.27
  assert round(millions['resnet18']) == 11
  assert round(millions['stack']) == 33
  assert round(millions['stack1b'], -1) == 1020
