"""The max-pool of the models equals that of flax, in another form on CPUs."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import pooling

shapes = pytest.mark.parametrize(
  'shape', [(3, 6, 8, 4), (1, 7, 5, 3), (2, 2, 3, 1)], ids=str
)


def _plain(images):
  return nnx.max_pool(images, (2, 2), strides=(2, 2))


def _images(shape, dtype='float32', special=()):
  """Few numbers, so that many windows have equal elements."""
  values = [*special, -2.0, -0.0, 0.0, 1.0, 3.0]
  drawn = np.random.default_rng(0).choice(values, shape)
  return jnp.asarray(drawn, dtype)


def _gradient(function):
  def loss(images):
    y = function(images)
    weights = 1 + jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)
    return jnp.sum(weights * y)

  return jax.grad(loss)


def _assert_equal(transform, *args):
  ours, theirs = (
    jax.jit(transform(function))(*args) for function in (pooling.halve, _plain)
  )
  assert ours.dtype == theirs.dtype
  # In bits: zeros have signs.
  np.testing.assert_array_equal(
    *(np.asarray(x).view(f'u{x.dtype.itemsize}') for x in (ours, theirs))
  )


@shapes
@pytest.mark.parametrize(
  'dtype', ['float32', pytest.param('bfloat16', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('special', [(), (np.nan, np.inf, -np.inf)])
def test_result_and_gradient_are_the_same_to_the_last_bit(
  shape, dtype, special
):
  images = _images(shape, dtype, special)
  _assert_equal(lambda f: f, images)
  _assert_equal(_gradient, images)


def test_gradients_of_pools_are_the_same_under_vmap():
  _assert_equal(lambda f: jax.vmap(_gradient(f)), _images((3, 2, 5, 6, 4)))


@pytest.mark.parametrize('mode', [jax.jacfwd, jax.jacrev])
def test_gradients_can_be_differentiated(mode):
  cubed = lambda f: lambda images: f(images) ** 3
  _assert_equal(lambda f: mode(_gradient(cubed(f))), _images((1, 4, 5, 1)))
