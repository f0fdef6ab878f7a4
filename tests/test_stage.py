"""Stages are pytrees of their numbers, which may be arrays and tracers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from tests.trees import PARAMS


def test_stages_are_pytrees_of_their_numbers():
  homeostasis = Homeostasis(
    max_update_norm=jnp.float32(2),
    target_rms=None,
    target_rms_scale={'w': 3.0},
  )
  paths = {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree.leaves_with_path(homeostasis)
  }
  assert paths == {
    '.max_update_norm': 2.0,
    '.adaptation_rate': 0.01,
    ".target_rms_scale['w']": 3.0,
  }
  doubled = jax.tree.map(lambda x: x * 2, homeostasis)
  assert isinstance(doubled, Homeostasis)
  assert doubled.max_update_norm == 4.0
  assert doubled.target_rms is None
  assert doubled.target_rms_scale == {'w': 6.0}
  assert jax.tree.leaves(modulations.Direct()) == []
  same = jax.jit(lambda stage: stage)(modulations.Direct())
  assert same == modulations.Direct()


def test_functions_in_stages_are_static():
  scale = lambda params: 1.0
  homeostasis = Homeostasis(target_rms_scale=scale)
  assert len(jax.tree.leaves(homeostasis)) == 3
  assert jax.jit(lambda h: h)(homeostasis).target_rms_scale is scale


DIRECTION_NUMBERS = dict(
  activity_weight=[0.4, 0.1, 0.5],
  gradient_weight=[0.4, 0.8, 0.0],
  memory_weight=[0.2, 0.3, 0.9],
  activity_decay=[0.95, 0.5, 0.0],
  memory_b1=[0.9, 0.0, 0.5],
  memory_b2=[0.99, 0.9, 0.999],
  min_alpha=[0.2, 0.0, 0.9],
  max_alpha=[2.0, 1.5, 1.0],
  plasticity_scale=[1.0, 0.0, 3.0],
  weight_decay=[0.0, 0.1, 0.5],
  eps=[1e-8, 1e-3, 1.0],
)
HOMEOSTASIS_NUMBERS = dict(
  max_update_norm=[1.0, 0.1, 10.0],
  target_rms=[0.02, 0.5, 0.0],
  adaptation_rate=[0.01, 1.0, 2.0],
)
SCALES = {'w': [1.0, 2.0, 3.0], 'b': [1.0, 10.0, 0.1]}


@pytest.mark.parametrize('decoupled', [False, True])
def test_an_optimizer_built_inside_vmap_over_all_its_numbers(decoupled):
  rng = np.random.default_rng(0)
  like = lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype)
  gradients = [jax.tree.map(like, PARAMS) for _ in range(4)]

  def train(learning_rate, numbers, homeostasis):
    tx = neuroplastic_optimizer(
      learning_rate,
      homeostasis=homeostasis,
      decoupled_weight_decay=decoupled,
      **numbers,
    )
    params, state = PARAMS, tx.init(PARAMS)
    for gradient in gradients:
      updates, state = tx.update(gradient, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  members = [
    (
      rate,
      {name: values[i] for name, values in DIRECTION_NUMBERS.items()},
      Homeostasis(
        **{name: values[i] for name, values in HOMEOSTASIS_NUMBERS.items()},
        target_rms_scale={name: values[i] for name, values in SCALES.items()},
      ),
    )
    for i, rate in enumerate([0.1, 1.0, 0.01])
  ]
  # Stages are pytrees of their numbers: a batch of them is one of arrays.
  batch = jax.tree.map(lambda *values: jnp.array(values), *members)
  actual = jax.jit(jax.vmap(train))(*batch)
  alone = [train(*member) for member in members]
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
  chex.assert_trees_all_close(actual, expected, rtol=2e-5, atol=1e-6)
