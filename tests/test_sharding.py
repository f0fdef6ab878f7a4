"""Split over devices, everything is what it is on one.

Under `jit` the compiler sees whole tensors; inside `shard_map` each device sees
its part, and `axis_name` says whose sums to add.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import _statistics
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.arrays import device_mesh
from tests.running import run

# Of the two axes of a mesh.
AXIS_TYPES = {
  'auto': ('Auto',),
  'explicit': ('Explicit',),
  'mixed': ('Explicit', 'Auto'),
}
SHAPES = {
  'embedding': (16, 8),
  'layers': {'kernel': (4, 8, 16), 'bias': (4, 16)},
  'head': {'kernel': (8, 24), 'bias': (3,)},
}
# By rows, by columns, by both, and by whatever each leaf allows; of scanned
# layers, each device has a part of every one of them.
LAYOUTS = {
  'both': {
    'embedding': ('x', 'y'),
    'layers': {'kernel': (None, 'x', 'y'), 'bias': (None, 'y')},
    'head': {'kernel': ('y', 'x'), 'bias': (None,)},
  },
  'uneven': {
    'embedding': (('x', 'y'), None),
    'layers': {'kernel': (None, None, ('y', 'x')), 'bias': ('x', None)},
    'head': {'kernel': (None, None), 'bias': (None,)},
  },
  # Each device has layers of its own, as in a pipeline.
  'layers': {
    'embedding': ('x', None),
    'layers': {'kernel': ('x', None, 'y'), 'bias': ('x', None)},
    'head': {'kernel': (None, 'x'), 'bias': (None,)},
  },
}
SETTINGS = {
  'default': {},
  'gradient_only': dict(gradient_only=True, weight_decay=0.1),
  'orthogonal': dict(modulation=modulations.Orthogonal(strength=0.5)),
  'trust_ratio': dict(
    base=optax.scale_by_adam(), modulation=modulations.TrustRatio(0.9)
  ),
  'mean': dict(modulation=modulations.Direct(normalize='mean')),
  'norm': dict(modulation=modulations.Direct(normalize='norm')),
  'momentum': dict(base=optax.trace(0.9), modulation=modulations.Momentum(0.9)),
  'controller': dict(controller=LearningRateController(gain=2.0)),
  'diagnostics': dict(diagnostics='per_leaf'),
  'pooled': dict(
    diagnostics='global', controller=LearningRateController(gain=2.0)
  ),
}
FAST = {
  ('norm', 'both', 'auto'),
  ('pooled', 'layers', 'explicit'),
}
COLLECTIVES = r'(all-gather|all-to-all|collective-permute|reduce-scatter)'


def _is_shape(x):
  return isinstance(x, tuple)


def _stacked(path, leaf):
  del leaf
  return int('layers' in jax.tree_util.keystr(path))


def _params(seed):
  """Of magnitudes that differ along every axis, so that statistics do."""
  rng = np.random.default_rng(seed)

  def draw(shape):
    x = rng.standard_normal(shape)
    for axis, size in enumerate(shape):
      scale = 10.0 ** np.linspace(-1, 1, size)
      x *= scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return jnp.asarray(x, jnp.float32)

  return jax.tree.map(draw, SHAPES, is_leaf=_is_shape)


def _specs(layout):
  return jax.tree.map(
    lambda names: jax.P(*names), LAYOUTS[layout], is_leaf=_is_shape
  )


def _mesh(axis_types='auto'):
  return device_mesh(*AXIS_TYPES[axis_types], x=4, y=2)


def _optimizer(settings, **kwargs):
  return neuroplastic(**SETTINGS[settings], stacked_axes=_stacked, **kwargs)


def _assert_close(found, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    found,
    expected,
  )


@pytest.mark.parametrize(
  ('settings', 'layout', 'axis_types'),
  [
    pytest.param(
      settings,
      layout,
      axis_types,
      marks=[] if (settings, layout, axis_types) in FAST else pytest.mark.slow,
    )
    for axis_types in ('auto', 'explicit')
    for settings, layout in (
      *(('default', layout) for layout in LAYOUTS),
      *((settings, 'both') for settings in SETTINGS if settings != 'default'),
      *(('diagnostics', 'layers'), ('pooled', 'layers')),
    )
  ]
  + [
    pytest.param(name, layout, 'mixed', marks=pytest.mark.slow)
    for name, layout in (('diagnostics', 'layers'), ('pooled', 'both'))
  ],
)
def test_sharded_equals_unsharded(settings, layout, axis_types):
  tx = _optimizer(settings)
  params, gradients = _params(0), [_params(seed) for seed in (1, 2)]
  expected = run(tx, params, gradients)
  mesh = _mesh(axis_types)
  with jax.set_mesh(mesh):
    placed = jax.tree.map(
      lambda spec: jax.sharding.NamedSharding(mesh, spec), _specs(layout)
    )
    params, *gradients = (
      jax.device_put(tree, placed) for tree in (params, *gradients)
    )
    updates, state = found = run(tx, params, gradients)
    _assert_close(found, expected)
    # The state, and what comes out, lie where the params do.
    moments = (
      [] if state.activity is None else [state.activity, state.memory_nu]
    )
    for tree in (updates, *moments):
      assert jax.tree.all(
        jax.tree.map(
          lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), tree, placed
        )
      )
    program = jax.jit(tx.update).lower(gradients[0], state, params).compile()
  # Nothing but sums travels: of a tensor, or of each of its slices.
  text = program.as_text()
  assert not re.search(COLLECTIVES, text)
  reduced = re.findall(r'= (.*?) all-reduce(?:-start)?\(', text)
  assert reduced
  sizes = {size for x in reduced for size in re.findall(r'\[([\d,]*)\]', x)}
  slices = 1 if layout == 'layers' else 4  # That a device has of a stack.
  assert sizes <= {'', f'{slices}', '64', f'{slices},64'}


@pytest.mark.parametrize(
  ('settings', 'form'),
  [
    ('default', 'callable'),
    *(pytest.param(name, 'tree', marks=pytest.mark.slow) for name in SETTINGS),
  ],
)
def test_shard_map_with_axis_names_equals_unsharded(settings, form):
  specs = _specs('both')
  # The names that a leaf is split over.
  names = jax.tree.map(
    lambda names: tuple(name for name in names if name) or None,
    LAYOUTS['both'],
    is_leaf=_is_shape,
  )
  by_path = {
    jax.tree_util.keystr(path): value
    for path, value in jax.tree.leaves_with_path(
      names, is_leaf=lambda x: x is None or _is_shape(x)
    )
  }
  axis_name = {
    'tree': names,
    'callable': lambda path, _: by_path[jax.tree_util.keystr(path)],
  }[form]
  params, gradients = _params(0), [_params(seed) for seed in (1, 2)]
  expected, whole = run(_optimizer(settings), params, gradients)
  tx = _optimizer(settings, axis_name=axis_name)
  state = tx.init(params)
  state_specs = optax.tree.map_params(
    tx,
    lambda _, spec: spec,
    state,
    specs,
    transform_non_params=lambda _: jax.P(),
  )
  update = jax.jit(
    jax.shard_map(
      tx.update,
      mesh=_mesh(),
      in_specs=(specs, state_specs, specs),
      out_specs=(specs, state_specs),
    )
  )
  for gradient in gradients:
    updates, state = update(gradient, state, params)
  _assert_close((updates, state), (expected, whole))


def test_pmap_with_an_axis_name_equals_unsharded():
  x = _params(0)['embedding']
  tx = neuroplastic(axis_name='i')
  whole = neuroplastic().update(x, neuroplastic().init(x))[0]
  parts = x.reshape(8, 2, 8)
  updates = jax.pmap(
    lambda g: tx.update(g, tx.init(g))[0],
    axis_name='i',
    devices=[*device_mesh().devices],
  )(parts)
  _assert_close(updates.reshape(x.shape), whole)


OFFLOADED = {
  'global': neuroplastic_optimizer(0.1, diagnostics='global'),
  'per_leaf': neuroplastic_optimizer(0.1, diagnostics='per_leaf'),
  'stacked': neuroplastic_optimizer(
    0.1, diagnostics='per_leaf', stacked_axes=1
  ),
  'inactive': mechanisms.regenerate_inactive(optax.adamw(0.1)),
  'fresh': mechanisms.regenerate_inactive(optax.adamw(0.1), to='fresh'),
}


def _kinds(tree):
  return {x.sharding.memory_kind for x in jax.tree.leaves(tree)}


@pytest.mark.parametrize('tx', OFFLOADED.values(), ids=OFFLOADED)
def test_params_and_states_in_the_memory_of_the_host(tx):
  """They are moved to the device for each update, as users do."""
  on_host = jax.sharding.SingleDeviceSharding(
    jax.devices()[0], memory_kind='pinned_host'
  )

  def step(params, state):
    params, state = jax.device_put((params, state), jax.memory.Space.Device)
    updates, state = tx.update(params, state, params)
    return optax.apply_updates(params, updates), state

  here = {'w': jnp.arange(12.0).reshape(4, 3), 'b': jnp.ones(3)}
  there = jax.device_put(here, on_host)
  state = jax.device_put(jax.jit(tx.init)(there), on_host)
  moved = jax.jit(step, out_shardings=on_host)(there, state)
  assert _kinds(moved) == {'pinned_host'}
  expected = jax.jit(step)(here, tx.init(here))
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(moved), expected)
  # Without `jit`, JAX for CPUs makes no zeros there, for Optax neither.
  for init in (optax.adam(0.1).init, tx.init):
    with pytest.raises(ValueError, match='Memory kind mismatch'):
      init(there)


@pytest.mark.parametrize('stacked_axes', [0, 1])
def test_statistics_of_params_on_the_host_are_on_the_device(stacked_axes):
  on_host = jax.sharding.SingleDeviceSharding(
    jax.devices()[0], memory_kind='pinned_host'
  )
  leaf = jax.device_put(jnp.ones((4, 3)), on_host)
  made = _statistics.zeros(leaf, stacked_axes)
  assert _kinds(made) == {'device'}
  assert made.histogram.shape == (4, 64)[1 - stacked_axes :]
