"""The benchmark measures every part and writes its tables."""

import json

from PIL import Image
import pytest

from experiments import models
from tests.experiments import program


@pytest.mark.slow
def test_all_parts_are_measured_and_written(tmp_path):
  flags = (
    *('--steps=mlp', '--workloads=leaf1m', '--optimizers=neuroplastic,sgdm'),
    *('--training=full,full+diagnostics', '--examples=128', '--leaves=2,3'),
    *('--loops=mlp', '--loop_batch_size=2', '--seconds=0'),
    *('--streams=split', '--stream_updates=20'),
  )
  result = program.module('benchmark', *flags, f'--workdir={tmp_path}')
  assert result.returncode == 0, result.stderr
  found = json.loads((tmp_path / 'benchmark.json').read_text())['tables']
  step, epoch, update, leaves, loops, streams = (
    {row['name']: row for row in rows} for rows in found.values()
  )
  assert next(iter(found)) == 'mlp: a training step at batch 2'
  assert list(step) == ['adamw', 'full']
  assert list(epoch) == ['adamw', 'full', 'full+diagnostics']
  assert list(update) == ['adamw', 'neuroplastic', 'sgdm']
  size = 4 * models.count(models.trees()['leaf1m'].params())
  count = 4
  assert update['neuroplastic']['state_bytes'] == 3 * size + count
  assert update['sgdm']['state_bytes'] == size
  for rows in (step, epoch, update):
    assert rows['adamw']['ratio'] == 1
    for row in rows.values():
      assert row['seconds'] > 0
      assert f'{row["ratio"]:.2f}' in result.stdout
  assert list(leaves) == ['adamw', 'full']
  for row in leaves.values():
    assert list(row['seconds']) == ['2', '3']
    assert f'{row["seconds"]["3"]:.2f} s' in result.stdout
  (row,) = loops.values()
  assert row['alone_seconds'] > 0
  assert row['loop_seconds'] > 0
  assert f'{row["ratio"]:.2f}' in result.stdout
  (row,) = streams.values()
  assert row['updates'] == 20
  assert row['plain_seconds'] > 0
  assert row['measured_seconds'] > 0
  assert f'{row["ratio"]:.2f}' in result.stdout
  assert f'{row["measures_ratio"]:.2f}' in result.stdout
  with Image.open(tmp_path / 'benchmark.png') as picture:
    picture.verify()
