"""The programs in `experiments/examples` run, and show what they promise."""

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'experiments' / 'examples'


def _run(name, *arguments):
  """The standard output of an example in a process of its own."""
  # The example decides how many devices a CPU simulates.
  flags = re.sub(
    r'--xla_force_host_platform_device_count=\d+',
    '',
    os.environ.get('XLA_FLAGS', ''),
  )
  return subprocess.run(
    [sys.executable, '-W', 'error', EXAMPLES / f'{name}.py', *arguments],
    env=os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': flags},
    cwd=EXAMPLES,
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  ).stdout


@pytest.mark.slow
@pytest.mark.parametrize('name', ['linen', 'nnx'])
def test_training_resumes_and_learns_the_digits(name):
  out = _run(name)
  assert 'resumed at update 192\n' in out
  lines = re.findall(r'epoch (\d): accuracy (\S+), mean α (\S+)', out)
  epochs, accuracies, alphas = zip(*lines, strict=True)
  assert epochs == tuple('12345678')
  assert float(accuracies[-1]) > 0.96
  assert all(0.2 < float(alpha) < 1.5 for alpha in alphas)


@pytest.mark.slow
def test_sharded_training_learns_and_shards_the_moments():
  *updates, spec = _run('sharded').splitlines()
  losses = [float(line.split()[-1]) for line in updates]
  assert len(losses) == 4
  assert losses[-1] < losses[0] < 4
  assert spec == "P(None, None, 'model')"


@pytest.mark.slow
def test_a_network_that_cannot_learn_any_more_is_kept_plastic(tmp_path):
  path = tmp_path / 'picture.png'
  without, with_ = _run('plasticity', path).splitlines()
  accuracies = [
    [float(x) for x in re.findall(r'[01][.]\d\d', line)]
    for line in (without, with_)
  ]
  assert [len(x) for x in accuracies] == [13, 13]
  assert accuracies[0][0] == accuracies[1][0] == 1.0
  assert accuracies[0][-1] < 0.2
  assert accuracies[1][-1] > 0.95
  assert path.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('name', ['linen', 'nnx', 'plasticity', 'sharded'])
def test_example_is_short_and_imports_nothing_of_experiments(name):
  text = (EXAMPLES / f'{name}.py').read_text()
  assert len(text.splitlines()) < 70
  assert not re.search(r'^(from|import) experiments', text, re.MULTILINE)
