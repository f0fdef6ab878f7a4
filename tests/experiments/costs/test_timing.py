"""Rounds are interleaved; the allocator of the process is seen."""

import ctypes.util
import os
import subprocess
import sys

import pytest

from experiments.costs import timing


def test_rounds_are_interleaved_and_the_first_is_left_out():
  calls = []

  def make(name):
    def step():
      calls.append(name)
      return float(len(calls))

    return step

  steps = {name: make(name) for name in 'ab'}
  times = timing.interleaved(steps, seconds=0.0, rounds=7)
  assert calls == ['a', 'b'] * 6
  assert times == {'a': [3, 5, 7, 9, 11], 'b': [4, 6, 8, 10, 12]}
  assert len(timing.interleaved(steps, 1e9, rounds=7)['a']) == 7


def test_ratio_is_the_median_of_the_ratios_within_rounds():
  assert timing.ratio([2.0, 1.0, 20.0], [1.0, 2.0, 10.0]) == 2.0


@pytest.mark.skipif(
  ctypes.util.find_library('tcmalloc_minimal') is None,
  reason='needs tcmalloc: apt-get install libtcmalloc-minimal4',
)
@pytest.mark.parametrize('preloaded', ['tcmalloc', ''])
def test_preloaded_allocator_is_recognised(preloaded):
  library = ctypes.util.find_library('tcmalloc_minimal') if preloaded else ''
  result = subprocess.run(
    [
      *(sys.executable, '-c'),
      'from experiments.costs import timing; print(timing.allocator())',
    ],
    env={**os.environ, 'LD_PRELOAD': library or ''},
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == (preloaded or 'the system')
