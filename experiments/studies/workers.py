"""Processes that compute cells."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import functools
import multiprocessing
from multiprocessing import connection
import os
import re
import threading
from typing import Any

from experiments import data
from experiments import interrupts
from experiments import program
from experiments.studies import computing
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome


@functools.cache
def load(name: str, data_dir: str | None) -> data.Dataset:
  """A data set, read once by every process."""
  return data.load(name, data_dir=data_dir)


def compute(cell: Cell, data_dir: str | None) -> Outcome:
  """Computes a cell, in whichever process this is called."""
  return computing.compute(cell, load(cell.task.dataset, data_dir))


class _Here(futures.Executor):
  """Computes in this process, when it is asked to."""

  def submit(
    self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
  ) -> futures.Future[Any]:
    future: futures.Future[Any] = futures.Future()
    try:
      future.set_result(fn(*args, **kwargs))
    except Exception as e:
      future.set_exception(e)
    return future


class _Elsewhere(futures.ProcessPoolExecutor):
  """Computes in processes, which it starts as they are needed.

  They ignore signals; who started them ends them.
  """

  def submit(
    self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
  ) -> futures.Future[Any]:
    with interrupts.withheld():
      return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def pool(jobs: int) -> Any:
  """An executor of so many processes, none of which outlives it.

  With one job, it is this process that works.
  """
  if jobs == 1:
    yield _Here()
    return
  context = multiprocessing.get_context('spawn')
  executor = _Elsewhere(jobs, context, initializer=_begin, initargs=(jobs,))
  try:
    yield executor
    executor.shutdown()
  finally:
    # Nobody waits for cells that are half done; they are computed again.
    for process in multiprocessing.active_children():
      process.kill()
    executor.shutdown(cancel_futures=True)


def _begin(jobs: int) -> None:
  """Prepares a process that computes cells."""
  program.set_up_jax()
  threading.Thread(target=_die_with_parent, daemon=True).start()
  if hasattr(os, 'sched_setaffinity'):
    # XLA takes as many threads as there are cores that it may use.
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= jobs:
      os.sched_setaffinity(0, cores[_place() % jobs :: jobs])


def _place() -> int:
  """The number of this process among its parent's, with which its name ends."""
  number = re.search(r'\d+$', multiprocessing.current_process().name)
  assert number is not None
  return int(number[0])


def _die_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None
  connection.wait([parent.sentinel])
  os._exit(1)
