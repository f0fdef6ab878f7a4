"""The models have their published sizes; statistics move in training only."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import models
from experiments.models import layers
from experiments.models import resnet
from neuroplastic_optax import scopes

SHAPES = {name: model.shape for name, model in models.MODELS.items()}


def _abstract(name, shape, num_classes=10):
  """The state of a model without the work of computing it."""
  model = nnx.eval_shape(
    lambda: models.MODELS[name].make(shape, num_classes, rngs=nnx.Rngs(0))
  )
  return model, nnx.state(model, nnx.Param)


@pytest.mark.parametrize(
  ('name', 'shape', 'count'),
  [
    ('mlp', (28, 28, 1), 269_322),
    ('mlp', (8, 8, 1), 64 * 256 + 256 + 256 * 256 + 256 + 2_570),
    ('cnn', (32, 32, 3), 896 + 18_496 + 73_856 + 8192 * 256 + 256 + 2_570),
    ('cnn', (28, 28, 1), 320 + 18_496 + 73_856 + 6272 * 256 + 256 + 2_570),
    ('resnet18', (32, 32, 3), 11_173_962),
  ],
)
def test_models_have_as_many_parameters_as_published(name, shape, count):
  _, params = _abstract(name, shape)
  assert sum(math.prod(x.shape) for x in jax.tree.leaves(params)) == count


@pytest.mark.parametrize('name', models.MODELS)
@pytest.mark.parametrize('train', [True, False])
def test_logits_have_one_entry_per_class(name, train):
  model, _ = _abstract(name, SHAPES[name], 7)
  graphdef, state = nnx.split(model)

  def call(state, images):
    model = nnx.merge(graphdef, state)
    return model(images, train=train, key=jax.random.key(0))

  images = jax.ShapeDtypeStruct((5, *SHAPES[name]), jnp.float32)
  logits = jax.eval_shape(call, state, images)
  assert logits.shape == (5, 7)
  assert logits.dtype == jnp.float32


@pytest.mark.parametrize('name', models.MODELS)
def test_model_holds_only_parameters_and_batch_statistics(name):
  model, _ = _abstract(name, SHAPES[name])
  _, params, stats, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
  assert not jax.tree.leaves(rest)
  # A mean and a variance for the stem, two in each of 8 blocks, 3 shortcuts.
  expected = 2 * (1 + 2 * 8 + 3) if name == 'resnet18' else 0
  assert len(jax.tree.leaves(stats)) == expected
  assert jax.tree.leaves(params)


def test_the_dense_layers_start_uniform_by_their_fan_in():
  params = jax.jit(lambda: nnx.state(layers.dense(100, 60, nnx.Rngs(0))))()
  for values in (np.asarray(params['kernel']), np.asarray(params['bias'])):
    assert abs(values).max() <= 0.1
    # A uniform value has its maximum / √3 for its deviation.
    np.testing.assert_allclose(values.std(), 0.1 / np.sqrt(3), rtol=0.1)


@pytest.mark.parametrize(('name', 'shape'), [('mlp', 8), ('cnn', 4)])
def test_dropout_depends_on_its_key_and_only_in_training(name, shape):
  graphdef, state = nnx.split(_abstract(name, (shape, shape, 1), 3)[0])
  random = np.random.default_rng(0)
  draw = lambda x: random.normal(0, 0.1, x.shape).astype(np.float32)
  state, images = (
    jax.tree.map(draw, state),
    draw(np.empty((4, shape, shape, 1))),
  )

  @jax.jit
  def outputs(state, images):
    model = nnx.merge(graphdef, state)
    keys = jax.vmap(jax.random.key)(jnp.array([0, 0, 1]))
    trained = jax.vmap(lambda key: model(images, train=True, key=key))(keys)
    evaluated = [model(images, train=False, key=key) for key in (keys[0], None)]
    return trained, evaluated

  trained, evaluated = jax.tree.map(np.asarray, outputs(state, images))
  np.testing.assert_array_equal(trained[0], trained[1])
  assert (trained[0] != trained[2]).any()
  np.testing.assert_array_equal(*evaluated)
  assert (evaluated[0] != trained[0]).any()


def test_the_hidden_layers_of_the_mlp_drop_different_units():
  """Were the key used twice, the same tenth of both layers would be zero."""

  @jax.jit
  def output():
    model = models.MODELS['mlp'].make((1, 1, 1), 256, rngs=nnx.Rngs(0))
    # The first layer gives 1, the second adds 0.5, the head shows that.
    for layer, kernel, bias in (
      (model.hidden1, jnp.zeros((1, 256)), 1.0),
      (model.hidden2, jnp.eye(256), 0.5),
      (model.head, jnp.eye(256), 0.0),
    ):
      layer.kernel[...] = kernel
      layer.bias[...] = jnp.full(256, bias)
    return model(jnp.zeros((1, 1, 1, 1)), train=True, key=jax.random.key(0))

  seen = np.asarray(output()[0]) * 0.9
  # What is left: 0 of a unit dropped in the second layer, else 0.5, and 1 / 0.9
  # more where the first layer kept it.
  dropped_first = np.isclose(seen, 0.5)
  dropped_second = seen == 0
  kept = np.isclose(seen, 0.5 + 1 / 0.9)
  assert (dropped_first | dropped_second | kept).all()
  assert 10 < dropped_first.sum() < 50
  assert 10 < dropped_second.sum() < 50


@pytest.mark.parametrize('shape', [(3, 8, 1), (8, 3, 1)])
def test_the_cnn_refuses_images_that_pooling_would_empty(shape):
  with pytest.raises(ValueError, match=rf'at least 4×4, got \({shape[0]}, '):
    _abstract('cnn', shape)


def test_the_residual_blocks_halve_the_image_three_times():
  model, _ = _abstract('resnet18', (32, 32, 3))
  strides = [block.conv1.strides for block in model.blocks]
  assert strides == [1, 1, 2, 1, 2, 1, 2, 1]
  assert [block.projected for block in model.blocks] == [
    stride == 2 for stride in strides
  ]
  assert model.stem.kernel_size == (3, 3)
  assert model.stem.strides == 1


def test_batch_statistics_move_in_training_and_are_used_in_evaluation():
  """Of one residual block; the whole network is trained in `test_train`."""
  images = np.random.default_rng(0).normal(5, 2, (8, 4, 4, 2))
  images = images.astype(np.float32)

  @jax.jit
  def outputs(images):
    block = resnet._Block(2, 3, 2, rngs=nnx.Rngs(0))
    seen, at_start = block.conv1(images), block(images[:1], train=False)
    block(images, train=True)
    moved = nnx.state(block, nnx.BatchStat)
    evaluated = block(images, train=False), block(images[:1], train=False)
    return seen, moved, nnx.state(block, nnx.BatchStat), at_start, evaluated

  seen, moved, same, at_start, (together, alone) = outputs(images)
  assert len(jax.tree.leaves(moved)) == 2 * 3
  # The first normalisation sees what the first convolution makes of the batch.
  norm = moved['norm1']
  np.testing.assert_allclose(
    norm['mean'][...], 0.1 * seen.mean((0, 1, 2)), rtol=1e-4
  )
  np.testing.assert_allclose(
    norm['var'][...], 0.9 + 0.1 * seen.var((0, 1, 2)), rtol=1e-4
  )
  jax.tree.map(np.testing.assert_array_equal, moved, same)
  # An image's output depends on the statistics, and on no other image.
  assert not np.allclose(alone, at_start)
  np.testing.assert_allclose(alone, together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', models.MODELS)
def test_the_order_of_the_parts_is_that_of_the_model(name):
  make = models.MODELS[name].make
  _, params = _abstract(name, SHAPES[name])
  order = models.in_order(lambda: make(SHAPES[name], 10, rngs=nnx.Rngs(0)))
  last = scopes.classifier(order)(params)
  paths = jax.tree.leaves_with_path(last)
  chosen = {jax.tree_util.keystr(path) for path, here in paths if here}
  assert chosen == {f"['head']['{x}'].value" for x in ('bias', 'kernel')}
  first = scopes.early_blocks(order)(params)
  parts = {path[0].key for path, x in jax.tree.leaves_with_path(first) if x}
  assert order[0] in parts
  assert 'head' not in parts
