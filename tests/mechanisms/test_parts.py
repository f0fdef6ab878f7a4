"""Stacked layers are layers of their own; mechanisms inside `shard_map`."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests.arrays import device_mesh
from tests.mechanisms.registry import CASES
from tests.trees import Checked

STACKED = {
  'upgd': lambda **k: mechanisms.scale_by_upgd(noise=0.0, scaling='local', **k),
  'sleep': lambda **k: mechanisms.sleep(2, 1.0, strength=0.7, **k),
  'project': mechanisms.normalize_and_project,
  'clip': lambda **k: mechanisms.clip_weights(
    mechanisms.fan_in_bounds(0.5, **k)
  ),
  'inactive': lambda **k: mechanisms.regenerate_inactive(
    optax.sgd(0.1), 0.5, threshold=1.0, **k
  ),
  'synergy': lambda **k: mechanisms.synergy(
    {'a': optax.trace(0.9), 'b': optax.scale_by_rms()}, 'adaptive', **k
  ),
}


def _draw(rng, *shape):
  scale = 10.0 ** np.linspace(-1, 1, shape[0])
  x = rng.normal(size=shape) * scale.reshape(-1, *[1] * (len(shape) - 1))
  return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize('make', STACKED.values(), ids=STACKED)
def test_a_stack_equals_its_layers(make):
  rng = np.random.default_rng(0)
  tree = lambda: {'kernel': _draw(rng, 3, 4, 5), 'bias': _draw(rng, 3, 5)}
  first, params, *gradients = (tree() for _ in range(5))
  layer = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
  stack, apart = make(stacked_axes=1), make()
  state = stack.init(first)
  states = [apart.init(layer(first, i)) for i in range(3)]
  for gradient in gradients:
    updates, state = stack.update(gradient, state, params)
    for i in range(3):
      expected, states[i] = apart.update(
        layer(gradient, i), states[i], layer(params, i)
      )
      jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
        layer(updates, i),
        expected,
      )


def test_layers_of_a_stack_flip_signs_of_their_own():
  tx = mechanisms.flip_signs(0.5, stacked_axes=1)
  w = jnp.ones((6, 10, 2))
  updates, _ = tx.update(w, tx.init(w))
  assert (np.asarray(updates).sum((1, 2)) == 0).all()
  assert len({tuple(layer[:, 0].tolist()) for layer in updates}) > 1


@pytest.mark.parametrize('axis', ['input', 'output', 'element'])
def test_signs_take_a_byte_each(axis):
  state = mechanisms.flip_signs(0.5, axis).init({'w': jnp.ones((4, 3))})
  (signs,) = jax.tree.leaves(state.signs)
  assert signs.dtype == jnp.int8


CONDITIONAL = {
  'shrink': lambda: mechanisms.shrink_and_perturb(every=2),
  'variability': lambda: mechanisms.neural_variability(
    optax.trace(0.9), refresh=2
  ),
  'inactive': lambda: mechanisms.regenerate_inactive(
    optax.trace(0.9), threshold=1.0, to='fresh', every=2
  ),
  'reset': lambda: mechanisms.reset_moments(optax.scale_by_adam(), 2),
  'elastic': mechanisms.elastic_weight_consolidation,
}


@pytest.mark.parametrize('make', CONDITIONAL.values(), ids=CONDITIONAL)
def test_conditional_mechanisms_run_in_shard_map(make):
  """Both branches of a conditional have one type there, too."""
  tx, w = make(), jnp.ones((16, 3))
  state = tx.init(w)
  specs = optax.tree.map_params(
    tx, lambda _: jax.P('x'), state, transform_non_params=lambda _: jax.P()
  )
  update = jax.jit(
    jax.shard_map(
      lambda g, s, w, new: tx.update(g, s, w, new_task=new),
      mesh=device_mesh(),
      in_specs=(jax.P('x'), specs, jax.P('x'), jax.P()),
      out_specs=(jax.P('x'), specs),
    )
  )
  for t in range(3):
    updates, state = update(0.1 * w, state, w, jnp.asarray(t == 2))
  assert jnp.isfinite(updates).all()
  assert optax.tree.get(
    state, 'count', filtering=lambda path, _: len(path) == 1
  ) == 3  # fmt: skip


@pytest.mark.parametrize('how', ['vmap', 'shard_map'])
def test_replicas_are_coupled_over_mapped_axes(how):
  tx = mechanisms.couple_replicas(0.5, axis_name='x')
  w = jnp.arange(8.0).reshape(8, 1)
  step = lambda w: tx.update(0 * w, tx.init(w), w)[0]
  if how == 'vmap':
    updates = jax.vmap(step, axis_name='x')(w)
  else:
    updates = jax.shard_map(
      step, mesh=device_mesh(), in_specs=jax.P('x'), out_specs=jax.P('x')
    )(w)
  np.testing.assert_allclose(updates, -0.5 * (w - 3.5), rtol=1e-6)


def test_fan_in_bounds_by_rank_and_parent():
  layer = lambda *shape: {
    'kernel': jnp.ones(shape),
    'bias': jnp.ones(shape[-1]),
  }
  params = {
    'conv': layer(3, 3, 4, 8),
    'dense': layer(16, 2),
    'two': {'a': jnp.ones((4, 2)), 'b': jnp.ones((4, 2)), 'c': jnp.ones(2)},
    'norm': {'scale': jnp.ones(4)},
    'none': None,
  }
  bounds = mechanisms.fan_in_bounds(2.0)(params)
  assert bounds['conv']['kernel'] == pytest.approx(2 / 6)
  assert bounds['conv']['bias'] == pytest.approx(2 / 6)
  assert bounds['dense'] == {'kernel': 0.5, 'bias': 0.5}
  assert bounds['two'] == {'a': 1.0, 'b': 1.0, 'c': np.inf}
  assert bounds['norm'] == {'scale': np.inf}
  assert bounds['none'] is None
  stack = {'kernel': jnp.ones((5, 4, 2)), 'bias': jnp.ones((5, 2))}
  found = mechanisms.fan_in_bounds(stacked_axes=1)(stack)
  assert found == {'kernel': 0.5, 'bias': 0.5}


def test_fan_in_bounds_of_an_nnx_state():
  """Whose paths end in `.value`; a key of that name is a part of a path."""
  state = nnx.state(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), nnx.Param)
  assert jax.tree.leaves(mechanisms.fan_in_bounds()(state)) == [0.5, 0.5]
  named = {'value': jnp.ones((4, 2)), 'bias': {'value': jnp.ones(2)}}
  bounds = mechanisms.fan_in_bounds()(named)
  assert bounds == {'value': 0.5, 'bias': {'value': np.inf}}


def test_bounds_of_a_function_may_be_infinite_under_debug_infs():
  params = {'scale': jnp.ones(3)}
  tx = mechanisms.clip_weights(mechanisms.fan_in_bounds())
  with jax.debug_infs(True):
    updates, _ = tx.update(params, tx.init(params), params)
  assert updates['scale'].all()


# Bounds by leaf are refused by the node, and a stack of replicas is, too.
@pytest.mark.parametrize(
  'name', [name for name in CASES if name not in ('clip_fan_in', 'replicas')]
)
def test_node_that_checks_shapes_holds_params(name):
  tx, params = CASES[name].tx(), {'node': Checked(jnp.ones((2, 3)))}
  state = jax.eval_shape(tx.init, params)
  updates, _ = jax.eval_shape(tx.update, params, state, params)
  assert isinstance(updates['node'], Checked)
