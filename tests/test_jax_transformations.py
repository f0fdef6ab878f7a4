"""JAX's transformations of a training, and export, change nothing of it."""

import functools
import importlib.util

import chex
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import neuroplastic_optax
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import units
from tests.mechanisms.registry import beside
from tests.mechanisms.registry import CASES
from tests.running import trained
from tests.settings import every_setting
from tests.settings import mostly_slow
from tests.settings import RULES
from tests.trees import random_tree
from tests.trees import random_trees
from tests.trees import stack
from tests.trees import types_of


@every_setting
def test_vmap_over_members_equals_a_loop(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  members, gradients = random_trees(3), random_trees(4)

  def train(params):
    state = tx.init(params)
    for gradient in gradients:
      updates, state = tx.update(gradient, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  together = jax.jit(jax.vmap(train))(stack(members))
  alone = [jax.jit(train)(params) for params in members]
  # Adam's bias correction rounds according to how it was compiled.
  chex.assert_trees_all_close(together, stack(alone), rtol=2e-5, atol=1e-6)


# Donated, a leaf's buffer must find a use; a warning that it has none is an
# error here.
@every_setting
def test_donated_params_and_state(settings):
  tx = neuroplastic_optimizer(0.1, **settings)
  params, gradients = random_tree(0), random_trees(3)
  expected = trained(tx, params, gradients, compiled=True)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  state = jax.jit(tx.init)(params)
  for gradient in gradients:
    given = params, state
    params, state = step(params, state, gradient)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
  chex.assert_trees_all_equal((params, state), expected)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
@every_setting
def test_state_of_abstract_params(settings, dtype):
  tx = neuroplastic_optimizer(0.1, **settings)
  params = random_tree(0, dtype)
  state = tx.init(params)
  abstract = jax.eval_shape(lambda: params)
  assert types_of(jax.eval_shape(tx.init, abstract)) == types_of(state)
  # Given shapes for params, Optax makes a state all the same.
  chex.assert_trees_all_equal(tx.init(abstract), state)
  shapes = jax.eval_shape(tx.update, abstract, state, abstract)
  assert types_of(shapes) == types_of(tx.update(params, state, params))


@every_setting
def test_one_compilation_for_any_number_of_updates(settings, compiled):
  tx = neuroplastic_optimizer(
    optax.linear_schedule(0.1, 0.0, 10),
    plasticity_scale=optax.linear_schedule(0.0, 2.0, 5),
    **settings,
  )

  @jax.jit
  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  params = random_tree(0)
  state = tx.init(params)
  for gradient in random_trees(12):
    params, state = step(params, state, gradient)
  assert compiled.count('jit(step)') == 1


STACKED = dict(stacked_axes={'w': 1, 'b': 0})
EXPORTED = {
  **{
    name: dict(modulation=rule, base=optax.trace(0.9))
    for name, rule in RULES.items()
  },
  'published': {},
  'adam': dict(
    base=optax.scale_by_adam(), modulation=modulations.Momentum(strength=0.6)
  ),
  'gradient_only': dict(gradient_only=True, homeostasis=None),
  'one_alpha': dict(parameterwise=False, weight_decay=0.1),
  'decoupled': dict(weight_decay=0.1, decoupled_weight_decay=True),
  'bfloat16': dict(state_dtype='bfloat16'),
  'global': dict(diagnostics='global'),
  'per_leaf': dict(diagnostics='per_leaf'),
  'stacked': STACKED,
  'stacked_global': dict(diagnostics='global', **STACKED),
  'stacked_per_leaf': dict(diagnostics='per_leaf', **STACKED),
}


def _params(rows, columns):
  rng = np.random.default_rng(rows)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), 'float32')
  return {'w': draw(rows, columns, 2), 'b': draw(columns)}


@pytest.mark.slow
@mostly_slow('settings', EXPORTED, 'published')
def test_an_update_of_symbolic_shapes(settings):
  tx = neuroplastic_optimizer(
    0.1, controller=LearningRateController(), **settings
  )
  rows, columns = export.symbolic_shape('rows, columns')
  symbolic = {
    'w': jax.ShapeDtypeStruct((rows, columns, 2), jnp.float32),
    'b': jax.ShapeDtypeStruct((columns,), jnp.float32),
  }
  state = jax.eval_shape(tx.init, symbolic)
  exported = export.export(jax.jit(tx.update))(symbolic, state, symbolic)
  for shape in ((3, 4), (1, 5)):
    params = _params(*shape)
    state = tx.init(params)
    chex.assert_trees_all_close(
      exported.call(params, state, params),
      tx.update(params, state, params),
      rtol=1e-5,
      atol=1e-6,
    )


def _node_classes(tree):
  """The classes of all nodes of a tree."""
  level = jax.tree_util.default_registry.flatten_one_level(tree)
  if level is None:
    return set()
  return {type(tree)}.union(*map(_node_classes, level[0]))


def test_every_class_in_a_state_is_public_so_that_exports_serialize():
  txs = {name: case.tx() for name, case in CASES.items()}
  for mode in ('global', 'per_leaf'):
    txs[mode] = neuroplastic_optimizer(0.1, diagnostics=mode)
  tx = beside(txs)
  one = random_tree(0)
  params = dict.fromkeys(txs, one)
  state = tx.init(params)
  public = (neuroplastic_optax, mechanisms, units, optax)
  for each in _node_classes(state) - {dict, list, tuple, type(None)}:
    name = each.__name__
    assert any(getattr(m, name, None) is each for m in public), name
    export.register_namedtuple_serialization(
      each, serialized_name=f'{each.__module__}.{name}'
    )
  if importlib.util.find_spec('flatbuffers'):
    exported = export.export(jax.jit(tx.update))(params, state, params)
    again = export.deserialize(exported.serialize())
    assert again.in_tree == exported.in_tree
    assert again.out_tree == exported.out_tree
