"""Stacked axes: a stack of layers is treated as its layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from tests.running import run
from tests.settings import RULES


@pytest.mark.parametrize('name', list(RULES))
def test_a_stack_equals_its_layers(name):
  rng = np.random.default_rng(0)
  make = lambda: jnp.asarray(rng.standard_normal((3, 4, 5)), jnp.float32)
  layers = lambda x: [x[i] for i in range(3)]
  params, gradients = make(), [make() for _ in range(3)]
  base = optax.trace(0.9) if name == 'momentum' else None
  kwargs = dict(
    modulation=RULES[name],
    weight_decay=0.1,
    controller=LearningRateController(gain=2.0),
    diagnostics='global',
  )
  stack, s = run(
    neuroplastic(base, stacked_axes=1, **kwargs), params, gradients
  )
  apart, t = run(
    neuroplastic(base, **kwargs), layers(params), list(map(layers, gradients))
  )
  np.testing.assert_allclose(stack, jnp.stack(apart), rtol=2e-6, atol=1e-7)
  for name_, value in s.diagnostics._asdict().items():
    np.testing.assert_allclose(
      value, getattr(t.diagnostics, name_), rtol=1e-5, err_msg=name_
    )


@pytest.mark.parametrize(
  'stacked_axes',
  [
    {'stack': 1, 'single': 0},
    lambda path, leaf: int(jax.tree_util.keystr(path) == "['stack']"),
  ],
)
def test_stacked_axes_by_leaf(stacked_axes):
  rng = np.random.default_rng(0)
  g = {
    'stack': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
    'single': jnp.asarray(rng.standard_normal((2, 6)), jnp.float32),
  }
  updates, _ = run(neuroplastic(stacked_axes=stacked_axes), g, [g])
  rows, _ = run(neuroplastic(), list(g['stack']), [list(g['stack'])])
  whole, _ = run(neuroplastic(), g['single'], [g['single']])
  np.testing.assert_allclose(updates['stack'], jnp.stack(rows), rtol=1e-6)
  np.testing.assert_allclose(updates['single'], whole, rtol=1e-6)


@pytest.mark.parametrize(
  ('value', 'error'), [(-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_stacked_axes_are_checked(value, error):
  with pytest.raises(error, match='stacked_axes'):
    neuroplastic(stacked_axes=value)
  with pytest.raises(ValueError, match='stacked_axes must be at most'):
    neuroplastic(stacked_axes=2).init(jnp.ones(3))
