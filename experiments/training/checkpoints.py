"""Checkpoints of one arm: its state and its history, by orbax."""

from collections.abc import Callable
import errno
import functools
import logging
import os
from pathlib import Path
import shutil
import sys
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments import errors
from experiments import files
from experiments.training import distributed
from experiments.training.records import History

_KEPT = 2
# What a checkpoint has besides its arrays, generously, in bytes.
_MARGIN = 2**18
_RESTORES = {
  'state': ocp.args.StandardRestore(),
  'history': ocp.args.JsonRestore(),
}


class Checkpoints:
  """The checkpoints in a directory, by number; the last two are kept.

  Orbax puts a checkpoint in its place by a rename, so that a process that is
  killed leaves only complete ones. Those that orbax cannot restore all the
  same (emptied, truncated, a file missing) are passed over, and deleted once
  there is a newer one. A damaged file that still decodes is not noticed.
  """

  def __init__(
    self, directory: Path, log: Callable[[str], None] = lambda text: None
  ) -> None:
    """Finds the checkpoints; says which are passed over, and why."""
    self._directory = directory.absolute()
    self._log = log
    # By number, why those that are passed over cannot be restored.
    self._refused: dict[int, str] = {}
    with files.writing(directory):
      self._manager = ocp.CheckpointManager(
        self._directory,
        item_names=tuple(_RESTORES),
        options=ocp.CheckpointManagerOptions(
          max_to_keep=_KEPT,
          # What a killed process had not written to the end.
          cleanup_tmp_directories=True,
          # On CPUs a copy to the host is a view of a buffer that is donated to
          # the next update, which would overwrite it.
          enable_async_checkpointing=False,
        ),
      )

  def history(self) -> History | None:
    """The metrics of the last checkpoint; None if there is no checkpoint."""
    found = self._restore('history')
    return found and found[1]['history']

  def restore(self) -> tuple[int, dict[str, Any], History] | None:
    """The last checkpoint; None if there is none.

    Returns:
      Its number, the leaves of its state by path, as NumPy arrays, and its
      metrics.

    Raises:
      StorageError: there are checkpoints, and none can be restored.
    """
    found = self._restore('state', 'history')
    return found and (found[0], found[1]['state'], found[1]['history'])

  def _restore(self, *names: str) -> tuple[int, dict[str, Any]] | None:
    """The number and these items of the last checkpoint that has them."""
    args = ocp.args.Composite(**{name: _RESTORES[name] for name in names})
    refused: dict[int, str] = {}
    _silence_closed_loops()
    for number in sorted(self._manager.all_steps(), reverse=True):
      if number in self._refused:
        continue
      reason, found = '', None
      try:
        found = dict(self._manager.restore(number, args=args))
        found['history'] = History.from_json(found['history'])
      except Exception as e:  # TensorStore, JSON and files have their own.
        found, reason = None, files.reason(e)[:120]
      # All processes resume from the same one.
      if not distributed.largest(found is None):
        for other, reason in refused.items():
          self._log(
            f'{self._directory.name}: checkpoint {other} cannot be restored '
            f'({reason}), so checkpoint {number} is used'
          )
        return number, found or {}
      self._refused[number] = refused[number] = reason
    if not self._refused:
      return None
    reason = [*self._refused.values()][-1]
    raise errors.StorageError(
      f'cannot read any checkpoint in {self._directory} ({reason}): delete '
      'this folder to train the arm from its start, or pass --overwrite to '
      'start the whole run again.'
    )

  def save(self, number: int, state: Any, history: History) -> None:
    """Saves the state and the metrics under a number higher than the last.

    Raises:
      StorageError: the system refuses. The checkpoints before are as they were.
    """
    leaves = by_path(distributed.fetch(state))
    path = self._directory / str(number)
    size = sum(leaf.nbytes for leaf in leaves.values())
    with files.writing(path):
      distributed.on_primary(lambda: self._check_room(size))
      while self._refused:
        self._manager.delete(self._refused.popitem()[0])
      try:
        self._manager.save(
          number,
          args=ocp.args.Composite(
            state=ocp.args.StandardSave(leaves),
            history=ocp.args.JsonSave(history.to_json()),
          ),
        )
      except ValueError as e:
        if 'os_error_code' not in str(e):
          raise
        raise OSError(files.reason(e)) from e  # TensorStore's.

  def _check_room(self, size: int) -> None:
    # Where a disk is full, TensorStore's threads would print tracebacks.
    if shutil.disk_usage(self._directory).free < size + _MARGIN:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def close(self) -> None:
    """Lets go of what orbax holds."""
    self._manager.close()


@functools.cache
def _silence_closed_loops() -> None:
  """Hides a traceback of Orbax: the sentence of the error is enough.

  It reads all arrays at once, and closes its event loop at the first error.
  TensorStore's threads report to that loop what else they have read, and
  asyncio logs the errors of which nobody asked.
  """
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
      before(unraisable)

  sys.unraisablehook = hook
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)


def by_path(tree: Any) -> dict[str, Any]:
  """The leaves by path: no class of Flax or Optax gets into the files."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def as_tree(leaves: dict[str, Any], abstract: Any) -> Any:
  """Makes a tree like `abstract`, of restored leaves by path.

  Raises:
    StorageError: the leaves have other paths, shapes or dtypes.
  """
  wanted = by_path(abstract)
  # Orbax itself would pad, cut and cast.
  form = lambda tree: {name: (x.shape, x.dtype) for name, x in tree.items()}
  if form(leaves) != form(wanted):
    raise errors.StorageError(
      'the checkpoint holds a state of another form, as of another version of '
      'the program: pass --overwrite to start the run again.'
    )
  return jax.tree.unflatten(
    jax.tree.structure(abstract), [leaves[name] for name in wanted]
  )
