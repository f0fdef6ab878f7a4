"""The convolution of the models equals XLA's, in another form on CPUs.

Values are compared between programs, since XLA would merge what is the same
within one.
"""

import re

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import models
from experiments.models import convolution
from experiments.models import pooling

# Kernel, stride and padding, of the CNN and of ResNet-18.
_FORMS = [
  (3, 1, 'SAME'),
  (3, 1, ((1, 1), (1, 1))),
  (3, 2, ((1, 1), (1, 1))),
  (1, 1, 'SAME'),
  (1, 2, 'SAME'),
]
forms = pytest.mark.parametrize('form', _FORMS, ids=str)
dtypes = pytest.mark.parametrize(
  'dtype',
  ['float32', pytest.param('bfloat16', marks=pytest.mark.slow)],
)
shapes = pytest.mark.parametrize(
  'shape', [(3, 6, 8, 4), (1, 7, 5, 3), (1, 1, 2, 1)], ids=str
)
_FEATURES = 5
_FORM = 'b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f'


def _plain(images, kernel, strides, padding):
  return lax.conv_general_dilated(
    images,
    kernel,
    strides,
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _operands(shape, form, dtype='float32', lanes=()):
  random = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(random.normal(size=shape), dtype)
  size = form[0]
  return (
    draw(*lanes, *shape),
    draw(*lanes, size, size, shape[-1], _FEATURES),
  )


def _gradients(function, form):
  """The gradients of a loss that weighs every element differently."""
  _, stride, padding = form

  def loss(images, kernel):
    y = function(images, kernel, (stride, stride), padding)
    weights = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
    return jnp.sum(weights * jnp.sin(y.astype(jnp.float32)))

  return jax.grad(loss, (0, 1))


def _assert_close(ours, theirs):
  """Every array is another one to the rounding of its largest number."""
  for mine, other in zip(
    jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True
  ):
    assert mine.shape == other.shape
    assert mine.dtype == other.dtype
    rounding = 10 * float(jnp.finfo(mine.dtype).eps)
    mine, other = (np.asarray(x, np.float32) for x in (mine, other))
    np.testing.assert_allclose(
      mine, other, rtol=rounding, atol=rounding * abs(other).max()
    )


def _both(transform, *args):
  """What comes of a transformation of ours, and of the plain convolution."""
  return [
    jax.jit(transform(function))(*args)
    for function in (convolution.convolve, _plain)
  ]


@forms
@shapes
@dtypes
def test_result_and_gradients_are_the_same(form, shape, dtype):
  """The result to the last bit, the gradients to rounding."""
  _, stride, padding = form

  def both(function):
    strided = lambda *args: function(*args, (stride, stride), padding)
    gradients = _gradients(function, form)
    return lambda *operands: (strided(*operands), gradients(*operands))

  (ours, slopes), (theirs, their_slopes) = _both(
    both, *_operands(shape, form, dtype)
  )
  assert ours.dtype == theirs.dtype
  np.testing.assert_array_equal(*(np.float32(x) for x in (ours, theirs)))
  _assert_close(slopes, their_slopes)


@pytest.mark.slow
@forms
@pytest.mark.parametrize('axes', [0, (0, None), (None, 0)], ids=str)
def test_gradients_are_the_same_under_vmap(form, axes):
  operands = _operands((2, 6, 5, 4), form, lanes=(3,))
  if axes:
    operands = [
      x if axis == 0 else x[0] for x, axis in zip(operands, axes, strict=True)
    ]
  _assert_close(
    *_both(lambda f: jax.vmap(_gradients(f, form), axes), *operands)
  )


@pytest.mark.slow
@forms
@pytest.mark.parametrize('mode', ['forward', 'reverse'])
def test_gradients_can_be_differentiated(form, mode):
  operands = _operands((2, 5, 6, 3), form)

  def second(function):
    gradients = _gradients(function, form)
    if mode == 'forward':
      return lambda *x: jax.jvp(gradients, x, jax.tree.map(jnp.sin, x))[1]
    return jax.grad(
      lambda *x: sum(jnp.sum(g**2) for g in gradients(*x)), (0, 1)
    )

  _assert_close(*_both(second, *operands))


def test_layer_has_the_initial_values_of_flax():
  layer, other = (
    make(3, 4, (3, 3), rngs=nnx.Rngs(0))
    for make in (convolution.Conv, nnx.Conv)
  )
  ours, theirs = (nnx.to_pure_dict(nnx.state(x)) for x in (layer, other))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  images = jnp.ones((2, 5, 5, 3))
  np.testing.assert_array_equal(layer(images), other(images))


@pytest.mark.parametrize(
  'options', [{'feature_group_count': 3}, {'kernel_dilation': 2}]
)
def test_unsupported_options_of_a_convolution_are_refused(options):
  layer = convolution.Conv(3, 3, (3, 3), rngs=nnx.Rngs(0), **options)
  with pytest.raises(NotImplementedError, match='convolve knows no'):
    layer(jnp.ones((2, 5, 5, 3)))


def _lowered(name, platform):
  """The gradient of a model, before a compiler for a platform sees it."""
  shape = (8, 8, 3)
  make = models.MODELS[name].make
  model = nnx.eval_shape(lambda: make(shape, 10, rngs=nnx.Rngs(0)))
  graphdef, params, rest = nnx.split(model, nnx.Param, ...)

  def loss(params, rest, images):
    model = nnx.merge(graphdef, params, rest, copy=True)
    return jnp.sum(model(images, train=True, key=jax.random.key(0)))

  images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  traced = jax.jit(jax.grad(loss)).trace(params, rest, images)
  return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize('name', ['cnn', 'resnet18'])
def test_on_cpus_every_convolution_of_a_step_has_the_fast_form(name):
  text = _lowered(name, 'cpu')
  found = re.findall(r'stablehlo.convolution.*dim_numbers = \[(.*?)\],', text)
  # Of each three, less the gradient of the images that are given.
  assert len(found) >= 3 * {'cnn': 3, 'resnet18': 20}[name] - 1
  assert set(found) == {_FORM}
  assert 'optimization_barrier' in text
  # Nor does the gradient of a max-pool scatter.
  assert 'select_and_scatter' not in text


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'platform'), [('cnn', 'cuda'), ('resnet18', 'tpu')]
)
def test_other_platforms_get_the_convolutions_of_flax(
  name, platform, monkeypatch
):
  """Other platforms get the same convolutions and pools as from flax."""
  operations = lambda: sorted(
    re.findall(
      r'(?:stablehlo.convolution|"stablehlo.select_and_scatter").*',
      re.sub(r'%\w+(#\d+)?', '%', _lowered(name, platform)),
    )
  )
  ours = operations()
  monkeypatch.setattr(convolution, 'Conv', nnx.Conv)
  monkeypatch.setattr(
    pooling, 'halve', lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))
  )
  assert ours == operations()
  assert any('[f, 0, 1, b]' in line for line in ours)
