"""What a rule sees of a tensor: its sums, however it is laid out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.arrays import array
from tests.arrays import device_mesh


@dataclasses.dataclass(frozen=True)
class Sum(modulations.Modulation):
  """Fills the update with one of the sums."""

  which: str = 'sum'
  uses_parameter = True

  def modulate(self, tensor):
    b, p = tensor.base_update, tensor.parameter
    value = {
      'sum': lambda: tensor.sum(b),
      'mean': lambda: tensor.mean(b),
      'dot': lambda: tensor.dot(b, p),
      'norm': lambda: tensor.norm(p),
      'sum_of_scalar': lambda: tensor.sum(jnp.float32(2.0)),
      'mean_of_scalar': lambda: tensor.mean(jnp.float32(2.0)),
      'norm_of_scalar': lambda: tensor.norm(jnp.float32(2.0)),
      'dot_with_scalar': lambda: tensor.dot(jnp.float32(2.0), b),
    }[self.which]()
    return jnp.full_like(b, value)


@pytest.mark.parametrize('size', [0.0, 1e-15, 0.5, 3.0, 1e15])
@pytest.mark.parametrize('differentiate', [jax.jacfwd, jax.jacrev])
def test_the_derivative_of_a_norm(size, differentiate):
  """It is that of √Σx², and 0 at 0."""
  x = jnp.array([0.6, 0.0, -0.8])
  tx = neuroplastic(modulation=Sum('norm'), homeostasis=None)

  def norm(factor):
    params = factor * x
    return tx.update(x, tx.init(params), params)[0][0]

  slope = differentiate(norm)(jnp.float32(size))
  np.testing.assert_allclose(slope, float(size > 0), rtol=1e-6)


EXPECTED = {
  'sum': lambda b, p: b.sum(),
  'mean': lambda b, p: b.mean(),
  'dot': lambda b, p: (b.conj() * p).sum().real,
  'norm': lambda b, p: np.linalg.norm(p),
  'sum_of_scalar': lambda b, p: 2.0 * b.size,
  'mean_of_scalar': lambda b, p: 2.0,
  'norm_of_scalar': lambda b, p: 2.0 * np.sqrt(b.size),
  'dot_with_scalar': lambda b, p: 2.0 * b.real.sum(),
}


def _sum_transformation(which, **kwargs):
  return neuroplastic(modulation=Sum(which), homeostasis=None, **kwargs)


@pytest.mark.parametrize('which', EXPECTED)
@pytest.mark.parametrize('dtype', ['float32', 'complex64'])
@pytest.mark.parametrize('stacked_axes', [0, 1, 2])
def test_sums_are_right(which, dtype, stacked_axes):
  g, p = array(3, 2, 8, dtype=dtype), array(3, 2, 8, dtype=dtype)
  if dtype == 'complex64':
    g = g + 1j * array(3, 2, 8, dtype=dtype)
    p = p - 2j * array(3, 2, 8, dtype=dtype)
  tx = _sum_transformation(which, stacked_axes=stacked_axes)
  u, _ = tx.update(g, tx.init(p), p)
  axes = g.shape[:stacked_axes]
  for index in np.ndindex(*axes):
    b, theta = (np.asarray(x[index], np.complex128) for x in (g, p))
    expected = np.full(b.shape, EXPECTED[which](b, theta))
    np.testing.assert_allclose(u[index], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('which', EXPECTED)
def test_sums_are_those_of_the_whole_tensor_in_shard_map(which):
  g, p = array(16, 3), array(16, 3)
  tx = _sum_transformation(which, axis_name='x')

  @functools.partial(
    jax.shard_map,
    mesh=device_mesh(),
    in_specs=(jax.P('x'), jax.P('x')),
    out_specs=jax.P('x'),
  )
  def update(g, p):
    return tx.update(g, tx.init(p), p)[0]

  whole = _sum_transformation(which)
  expected, _ = whole.update(g, whole.init(p), p)
  np.testing.assert_allclose(jax.jit(update)(g, p), expected, rtol=1e-5)


@pytest.mark.parametrize('magnitude', [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_norm_neither_overflows_nor_vanishes(magnitude):
  p = jnp.float32(magnitude) * jnp.array([3.0, 4.0])
  tx = _sum_transformation('norm')
  u, _ = tx.update(p, tx.init(p), p)
  np.testing.assert_allclose(u, 5.0 * magnitude, rtol=1e-6)
