"""LAPACK, which compiled programs call on CPUs, kept to one thread.

Its threads wait for each other by spinning: a decomposition of a millisecond
takes seconds where other processes have the cores. And sums that are split
otherwise have other last bits.
"""

import contextlib
import functools

import threadpoolctl


def one_thread() -> contextlib.AbstractContextManager[object]:
  """Around calls of programs that are compiled."""
  return _libraries().limit(limits=1, user_api='blas')


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
  # Those that are loaded by now: JAX has loaded its own when it compiled.
  return threadpoolctl.ThreadpoolController()
