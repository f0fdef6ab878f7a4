"""The benchmark measures what it says, and writes it down."""

import json

from PIL import Image
import pytest

from experiments import models
from tests.experiments import program


@pytest.mark.slow
def test_the_program(tmp_path):
  flags = (
    *('--workloads=mlp', '--optimizers=neuroplastic,sgdm', '--seconds=0'),
    *('--training=full+diagnostics', '--examples=128'),
    *('--loops=mlp,cnn', '--loop_batch_size=2'),
    *('--streams=permuted_inputs,split', '--stream_updates=20'),
  )
  result = program.module('benchmark', *flags, f'--workdir={tmp_path}')
  assert result.returncode == 0, result.stderr
  found = json.loads((tmp_path / 'benchmark.json').read_text())['tables']
  update, training, loops, streams = (
    {row['name']: row for row in rows} for rows in found.values()
  )
  assert list(update) == ['adamw', 'neuroplastic', 'sgdm']
  assert list(training) == ['adamw', 'full+diagnostics']
  size = 4 * models.count(models.trees()['mlp'].params())
  count = 4
  assert update['neuroplastic']['state_bytes'] == 3 * size + count
  assert update['sgdm']['state_bytes'] == size
  assert list(loops) == ['mlp', 'cnn']
  for row in loops.values():
    assert row['alone_seconds'] > 0
    assert row['loop_seconds'] > 0
    assert f'{row["ratio"]:.2f}' in result.stdout
  assert list(streams) == ['permuted_inputs', 'split']
  for row in streams.values():
    assert row['updates'] == 20
    assert row['plain_seconds'] > 0
    assert row['measured_seconds'] > 0
    assert f'{row["ratio"]:.2f}' in result.stdout
    assert f'{row["measures_ratio"]:.2f}' in result.stdout
  for row in (*update.values(), *training.values()):
    assert row['seconds'] > 0
    assert f'{row["ratio"]:.2f}' in result.stdout
  assert update['adamw']['ratio'] == training['adamw']['ratio'] == 1
  with Image.open(tmp_path / 'benchmark.png') as picture:
    picture.verify()


@pytest.mark.slow
def test_loops_alone_have_no_picture(tmp_path):
  flags = (
    *('--workloads=', '--training=', '--streams='),
    *('--loops=mlp', '--seconds=0'),
  )
  workdir = tmp_path / 'new'
  result = program.module('benchmark', *flags, f'--workdir={workdir}')
  assert result.returncode == 0, result.stderr
  assert [file.name for file in workdir.iterdir()] == ['benchmark.json']


@pytest.mark.parametrize(
  'flag',
  [
    *('--workloads=vgg', '--training=full+more'),
    *('--loops=stack', '--streams=rotated'),
  ],
)
def test_unknown_names_are_told(flag):
  result = program.inside('benchmark', flag)
  assert result.code == 1
  assert result.stderr.startswith(f'error: {flag.partition("=")[0]} must be')


def test_nothing_to_measure_is_told():
  flags = ('--workloads=', '--training=', '--loops=', '--streams=')
  result = program.inside('benchmark', *flags)
  assert result.code == 1
  assert result.stderr.startswith('error: --workloads, --training, ')
