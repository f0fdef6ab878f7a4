"""The training step compiles for TPU slices with few collectives."""

import importlib.util
import json
import re

import jax
from jax.sharding import NamedSharding
import optax
import pytest

from experiments import errors
from experiments.costs import compiling
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from tests.experiments import program

needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason="needs libtpu: pip install -e '.[tpu]'",
)
SLICE = 'v5e:2x2'


def test_collectives_are_counted():
  program = """
    %a = f32[] all-reduce(%x), channel_id=1
    %b = (f32[], f32[4]) all-reduce-start(%y, %z), channel_id=2
    %c = (f32[], f32[4]) all-reduce-done(%b)
    %d = f32[8]{0} all-gather(%a), metadata={op_name="all-to-all(x)"}
    %e = f32[] get-tuple-element(%all-reduce.1), index=0
  """
  found = compiling.count_collectives(program)
  assert found['all-reduce'] == 2
  assert found['all-gather'] == 1
  assert sum(found.values()) == 3


def test_without_libtpu_the_error_names_the_extra(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(errors.UserError, match=r"pip install -e '\.\[.*tpu\]'"):
    compiling.mesh_of(SLICE)


@needs_libtpu
def test_program_larger_than_the_memory_is_refused():
  flags = ('--config.model=mlp', '--config.arms=sgd', f'--topology={SLICE}')
  result = program.module('aot', *flags, f'--config.batch_size={2**25}')
  assert result.returncode == 1
  message = 'error: the training step of mlp with sgd does not fit .*memory'
  assert re.search(f'^{message}', result.stderr, re.M)


@needs_libtpu
def test_report_of_the_mlp(tmp_path):
  flags = (
    *('--config.model=mlp', '--config.arms=full,adamw'),
    '--config.min_size_to_shard=1',
  )
  result = program.module(
    'aot', f'--topology={SLICE}', *flags, f'--workdir={tmp_path}'
  )
  assert result.returncode == 0, result.stderr
  assert '4 × TPU v5 lite' in result.stdout
  rows = json.loads((tmp_path / 'aot.json').read_text())
  found = {(row['arm'], row['program']): row for row in rows}
  assert len(found) == 4
  for row in rows:
    assert row['parameters'] == 269322
    assert row['bytes_accessed'] > row['argument_bytes'] > 0
  ours, theirs = (found[arm, 'update'] for arm in ('full', 'adamw'))
  # Three moments instead of two, split over four devices.
  share = 4 * row['parameters'] / 4
  more = ours['argument_bytes'] - theirs['argument_bytes']
  assert 0.9 * share < more < 1.2 * share
  # The gradient has to be summed in the step; in the update only sums travel.
  assert found['full', 'training step']['collectives']['all-reduce']
  assert ours['collectives'].pop('all-reduce') <= 3
  assert not sum(ours['collectives'].values())


@needs_libtpu
@pytest.mark.parametrize(
  ('settings', 'stages'),
  [
    ({}, 2),
    ({'gradient_only': True}, 2),
    # The sums of the limit as well.
    ({'modulation': modulations.Gain(1.0, 0.5)}, 3),
  ],
)
def test_all_reduces_do_not_grow_with_the_leaves(settings, stages):
  mesh = compiling.mesh_of(SLICE)
  row = NamedSharding(mesh, jax.P(compiling.AXIS))
  params = [
    jax.ShapeDtypeStruct((1024, 128 + 8 * i), 'float32', sharding=row)
    for i in range(16)
  ]
  tx = neuroplastic_optimizer(0.1, **settings)
  state = jax.eval_shape(tx.init, params)
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape,
      x.dtype,
      sharding=row if x.ndim else NamedSharding(mesh, jax.P()),
    ),
    state,
  )

  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  compiled = (
    jax.jit(step, donate_argnums=(0, 1))
    .trace(params, state, params)
    .lower(lowering_platforms=('tpu',))
    .compile()
  )
  found = compiling.count_collectives(compiled.as_text())
  assert 1 <= found.pop('all-reduce') <= stages
  assert not sum(found.values()), found
