"""The benchmark measures what it says, and writes it down."""

import ctypes.util
import json
import os
import subprocess
import sys

import jax
from PIL import Image
import pytest

from experiments import benchmark
from experiments import rivals
from experiments import workloads


def _run(*flags):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.benchmark', *flags],
    capture_output=True,
    text=True,
    check=False,
  )


def test_rounds_are_interleaved_and_the_first_is_left_out():
  calls = []

  def make(name):
    def step():
      calls.append(name)
      return float(len(calls))

    return step

  steps = {name: make(name) for name in 'ab'}
  times = benchmark.interleaved(steps, seconds=0.0, rounds=7)
  assert calls == ['a', 'b'] * 6
  assert times == {'a': [3, 5, 7, 9, 11], 'b': [4, 6, 8, 10, 12]}
  assert len(benchmark.interleaved(steps, 1e9, rounds=7)['a']) == 7


def test_every_optimizer_updates_a_small_tree():
  """The stack's shapes, smaller: what each is told of its leaves must fit."""
  shapes = {
    'embedding': jax.ShapeDtypeStruct((6, 4), 'float32'),
    'blocks': {
      'kernel': jax.ShapeDtypeStruct((2, 4, 8), 'float32'),
      'scale': jax.ShapeDtypeStruct((2, 4), 'float32'),
    },
    'conv': jax.ShapeDtypeStruct((3, 3, 2, 4), 'float32'),
  }
  stacked_axes = lambda path, _: int('blocks' in jax.tree_util.keystr(path))
  for name, build in rivals.OPTIMIZERS.items():
    tx = build(shapes, stacked_axes)
    jax.eval_shape(lambda p, tx=tx: tx.update(p, tx.init(p), p), shapes), name
  dimensions = rivals.muon_dimensions(shapes, stacked_axes)
  assert dimensions['embedding'] is None
  assert dimensions['blocks']['scale'] is None
  assert dimensions['blocks']['kernel'] == ((1,), (2,))
  assert dimensions['conv'] == ((0, 1, 2), (3,))


@pytest.mark.slow
def test_the_program(tmp_path):
  flags = (
    *('--workloads=mlp', '--optimizers=neuroplastic,sgdm', '--seconds=0'),
    *('--training=full+diagnostics', '--examples=128'),
  )
  result = _run(*flags, f'--workdir={tmp_path}')
  assert result.returncode == 0, result.stderr
  found = json.loads((tmp_path / 'benchmark.json').read_text())['tables']
  update, training = (
    {row['name']: row for row in rows} for rows in found.values()
  )
  assert list(update) == ['adamw', 'neuroplastic', 'sgdm']
  assert list(training) == ['adamw', 'full+diagnostics']
  size = 4 * workloads.count(workloads.WORKLOADS['mlp'].params())
  count = 4
  assert update['neuroplastic']['state_bytes'] == 3 * size + count
  assert update['sgdm']['state_bytes'] == size
  for row in (*update.values(), *training.values()):
    assert row['seconds'] > 0
    assert f'{row["ratio"]:.2f}' in result.stdout
  assert update['adamw']['ratio'] == training['adamw']['ratio'] == 1
  with Image.open(tmp_path / 'benchmark.png') as picture:
    picture.verify()


@pytest.mark.skipif(
  ctypes.util.find_library('tcmalloc_minimal') is None,
  reason='needs tcmalloc: apt-get install libtcmalloc-minimal4',
)
@pytest.mark.parametrize('preloaded', ['tcmalloc', ''])
def test_the_allocator_is_told(preloaded):
  library = ctypes.util.find_library('tcmalloc_minimal') if preloaded else ''
  result = subprocess.run(
    [
      *(sys.executable, '-c'),
      'from experiments import benchmark; print(benchmark.allocator())',
    ],
    env={**os.environ, 'LD_PRELOAD': library or ''},
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == (preloaded or 'the system')


@pytest.mark.parametrize('flag', ['--workloads=vgg', '--training=full+more'])
def test_unknown_names_are_told(flag):
  result = _run(flag)
  assert result.returncode == 1
  assert result.stderr.startswith(f'error: {flag.partition("=")[0]} must be')


def test_nothing_to_measure_is_told():
  result = _run('--workloads=', '--training=')
  assert result.returncode == 1
  assert result.stderr.startswith('error: --workloads and --training')
