"""Direct(normalize='mean'): α with mean 1, however the tensor is laid out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.arrays import array
from tests.arrays import device_mesh
from tests.arrays import GRADIENT
from tests.arrays import PARAMS
from tests.running import run


def _unit_mean(normalize='mean', **kwargs):
  return neuroplastic(
    modulation=modulations.Direct(normalize=normalize),
    homeostasis=None,
    **kwargs,
  )


SETTINGS = {
  'default': {},
  'gradient_only': dict(gradient_only=True),
  'extrapolated': dict(plasticity_scale=2.0),
  'narrow': dict(min_alpha=0.9, max_alpha=1.1),
  'one_alpha': dict(parameterwise=False),
}


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('stacked_axes', [0, 1])
def test_unit_mean_divides_alpha_by_its_mean(name, stacked_axes):
  g = array(3, 40)
  kwargs = SETTINGS[name] | dict(stacked_axes=stacked_axes)
  u, _ = run(_unit_mean(**kwargs), g, [g] * 3)
  plain, _ = run(_unit_mean(None, **kwargs), g, [g] * 3)
  alpha = np.asarray(plain, np.float64) / np.asarray(g)
  axis = 1 if stacked_axes else None
  mean = alpha.mean(axis=axis, keepdims=True)
  np.testing.assert_allclose(u, alpha / mean * g, rtol=2e-5, atol=1e-7)
  unit = np.asarray(u, np.float64) / np.asarray(g)
  np.testing.assert_allclose(unit.mean(axis=axis), 1.0, rtol=1e-5)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
@pytest.mark.parametrize('updates', [1, 3])
def test_unit_mean_of_zero_gradients_is_zero(dtype, updates):
  g = {'w': jnp.zeros((2, 3), dtype), 's': jnp.zeros((), dtype)}
  tx = _unit_mean(min_alpha=0.0, stacked_axes={'w': 1, 's': 0})
  u, state = run(tx, g, [g] * updates)
  chex.assert_trees_all_equal(u, g)
  chex.assert_tree_all_finite(state)


def test_where_the_mean_is_not_above_eps_alpha_is_left():
  # Far below ε, α_grad is about |g| / ε; beside a large ε, all α are small.
  for g, kwargs in (
    (1e-20 * array(50), dict(min_alpha=0.0, gradient_only=True)),
    (array(50) ** 5, dict(min_alpha=0.0, plasticity_scale=3.0, eps=10.0)),
  ):
    u, _ = run(_unit_mean(**kwargs), g, [g])
    plain, _ = run(_unit_mean(None, **kwargs), g, [g])
    chex.assert_tree_all_finite(u)
    mean = np.mean(np.asarray(plain, np.float64) / np.asarray(g, np.float64))
    assert mean <= kwargs.get('eps', 1e-8)
    np.testing.assert_array_equal(u, plain)


def test_unit_mean_in_low_precision():
  g = array(64, dtype='bfloat16')
  u, _ = run(_unit_mean(), g, [g])
  assert u.dtype == jnp.bfloat16
  wide = g.astype('float32')
  expected, _ = run(_unit_mean(), wide, [wide])
  np.testing.assert_allclose(
    u.astype('float32'), expected, rtol=float(jnp.finfo('bfloat16').eps)
  )


@pytest.mark.parametrize('kind', ['Auto', 'Explicit'])
def test_unit_mean_of_sharded_arrays(kind):
  g = array(16, 3)
  expected, _ = run(_unit_mean(), g, [g] * 2)
  mesh = device_mesh(kind)
  with jax.set_mesh(mesh):
    spec = jax.sharding.NamedSharding(mesh, jax.P('x', None))
    split = jax.device_put(g, spec)
    u, _ = run(_unit_mean(), split, [split] * 2)
    assert u.sharding.is_equivalent_to(spec, u.ndim)
  np.testing.assert_allclose(u, expected, rtol=1e-5)


def test_unit_mean_in_shard_map():
  g = array(16, 3)
  tx = _unit_mean(axis_name='x')
  update = jax.shard_map(
    lambda g: tx.update(g, tx.init(g))[0],
    mesh=device_mesh(),
    in_specs=jax.P('x'),
    out_specs=jax.P('x'),
  )
  expected, _ = run(_unit_mean(), g, [g])
  np.testing.assert_allclose(jax.jit(update)(g), expected, rtol=1e-5)


def test_unit_mean_under_vmap():
  gs = array(3, 20)
  tx = _unit_mean()
  update = lambda g: tx.update(g, tx.init(g))[0]
  expected = jnp.stack([update(g) for g in gs])
  np.testing.assert_allclose(jax.vmap(update)(gs), expected, rtol=1e-6)


def test_unit_mean_is_of_the_step_not_of_the_diagnostics():
  for normalize in (None, 'mean'):
    tx = _unit_mean(normalize, diagnostics='global', max_alpha=0.5)
    _, state = run(tx, PARAMS, [GRADIENT] * 2)
    assert get_diagnostics(state)['alpha_max'] <= 0.5


def test_direct_without_it_is_as_it_was():
  chex.assert_trees_all_equal(
    run(neuroplastic(), PARAMS, [GRADIENT] * 2),
    run(neuroplastic(modulation=modulations.Direct()), PARAMS, [GRADIENT] * 2),
  )
