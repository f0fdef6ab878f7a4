"""Environments of users: locales without UTF-8, settings of JAX."""

import json
import os
import subprocess
import sys

import pytest

from tests.experiments import program

POSIX = {'LC_ALL': 'POSIX', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
ASCII = {'PYTHONIOENCODING': 'ascii'}
PRINT = """
from experiments import program
program.run(lambda _: program.console().print('digits \\u2192 97 \\xb1 1 %'))
"""
READ = """
from experiments.reporting import report
from experiments.studies import versions
versions.code()
print('read')
"""


def python(*arguments, **environment):
  return subprocess.run(
    [sys.executable, *arguments],
    env=os.environ | environment,
    capture_output=True,
    text=True,
    encoding='utf-8',
    check=False,
  )


@pytest.mark.parametrize('environment', [ASCII, POSIX])
def test_characters_that_a_stream_lacks_are_replaced(environment):
  done = python('-c', PRINT, **environment)
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout == 'digits ? 97 ? 1 %\n'


@pytest.mark.slow
def test_help_does_not_fail():
  done = python('-m', 'experiments.study', '--help', **ASCII)
  assert 'error' not in done.stderr
  assert '--shard' in done.stdout


@pytest.mark.slow
def test_sources_are_read_as_utf_8():
  done = python('-c', READ, **POSIX)
  assert (done.stdout, done.stderr) == ('read\n', '')


# Set by users for other programs. Each alone makes this training fail, where it
# is let through: strict promotion not at SGD, NaNs at the arm that diverges.
JAX = {
  'JAX_ENABLE_X64': '1',
  'JAX_DISABLE_JIT': '1',
  'JAX_NUMPY_DTYPE_PROMOTION': 'strict',
  'JAX_NUMPY_RANK_PROMOTION': 'raise',
  'JAX_TRANSFER_GUARD': 'disallow',
  'JAX_DEBUG_NANS': '1',
}


@pytest.mark.slow
def test_settings_of_jax_in_the_environment_do_not_matter(tmp_path):
  flags = (
    *program.TINY,
    '--config.arms=sgd,adamw,full',
    '--config.hparams.sgd.learning_rate=1e38',
    '--config.epochs=1',
  )
  done = python(
    *('-m', 'experiments.train', *flags, f'--workdir={tmp_path / "run"}'), **JAX
  )
  assert (done.returncode, done.stderr) == (0, '')
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  found = {arm: results[arm]['status'] for arm in ('sgd', 'adamw', 'full')}
  assert found == {
    'sgd': 'diverged', 'adamw': 'finished', 'full': 'finished',
  }  # fmt: skip
