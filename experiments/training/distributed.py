"""Several processes, of one host or of many, that train one run together.

Each process is started with the same command. They share the run directory,
which has to lie where all can see it; the first of them, the primary, writes.
Alone, a process does here what it would do without this module.
"""

from collections.abc import Callable
import os
import sys
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from experiments import errors

# JAX itself would take a silent process for a living one much longer.
_HEARTBEAT_SECONDS = 30


def initialize(
  *,
  enabled: bool,
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Joins the other processes, before JAX is used for anything else.

  Args:
    enabled: whether there are others, also where JAX finds out itself who they
      are: on Cloud TPU and under Slurm the others may be None.
    coordinator_address: host:port of the first process.
    num_processes: how many there are.
    process_id: which one this is, from 0.

  Raises:
    InvalidValueError: only some of the three are given, one is out of range, or
      there are none and JAX does not find out either.
  """
  given = dict(
    coordinator_address=coordinator_address,
    num_processes=num_processes,
    process_id=process_id,
  )
  missing = [name for name, value in given.items() if value is None]
  if missing and len(missing) < len(given):
    raise errors.InvalidValueError(
      f'--{missing[0]} is missing: --coordinator_address, --num_processes and '
      '--process_id belong together.'
    )
  if missing and not enabled:
    return
  if not missing:
    assert num_processes is not None
    assert process_id is not None
    if not 0 <= process_id < num_processes:
      raise errors.InvalidValueError(
        f'--process_id must be from 0 to {num_processes - 1}, one less than '
        f'--num_processes, got {process_id}.'
      )
    _check_address(str(coordinator_address))
  # It would take SIGTERM for itself. A run ends by its own means: `stopping`.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      **given,  # type: ignore[arg-type]
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except ValueError as e:
    if not missing:
      raise errors.InvalidValueError(str(e)) from e
    raise errors.InvalidValueError(
      f'JAX finds no cluster for --distributed ({e}). Outside of Cloud TPU, '
      'Slurm and the like, give --coordinator_address, --num_processes and '
      '--process_id.'
    ) from e


def _check_address(address: str) -> None:
  host, _, port = address.rpartition(':')
  if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
    raise errors.InvalidValueError(
      '--coordinator_address must be host:port, with a port from 1 to 65535, '
      f'got {address!r}.'
    )


def leave_if_lost(error: Exception) -> None:
  """Ends this process if the error is that another one is gone.

  At once: on the way out, JAX would wait minutes for the one that is gone.
  """
  if jax.process_count() == 1:
    return
  # Of lost connections, some operations make a ValueError.
  if not isinstance(error, jax.errors.JaxRuntimeError) and not any(
    sign in str(error) for sign in ('Gloo', 'NCCL', 'coordination')
  ):
    return
  reason = str(error).splitlines()[0][:200]
  print(
    f'error: another process of the job is gone ({reason}). The same command, '
    'in all of them, resumes from the last checkpoint.',
    file=sys.stderr,
    flush=True,
  )
  sys.stdout.flush()
  os._exit(1)


def is_primary() -> bool:
  """Whether this process is the one that writes and speaks."""
  return jax.process_index() == 0


def fetch(tree: Any) -> Any:
  """Whole NumPy arrays, on every process, wherever their parts are."""
  if jax.process_count() > 1:
    return multihost_utils.process_allgather(tree, tiled=True)
  return jax.tree.map(np.asarray, tree)


def largest(number: int) -> int:
  """The largest of what the processes say; all get the same answer."""
  if jax.process_count() == 1:
    return number
  return int(np.max(multihost_utils.process_allgather(np.asarray(number))))


def on_primary(function: Callable[[], Any]) -> None:
  """Runs something on the primary while the others wait for it.

  Raises:
    UserError: on the other processes, if it raised an exception.
  """
  error: BaseException | None = None
  if is_primary():
    try:
      function()
    except BaseException as e:
      error = e
  failed = largest(error is not None)
  if error is not None:
    raise error
  if failed:
    raise errors.UserError('the first process could not go on; it says why')
