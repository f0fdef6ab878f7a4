"""Checkpoints of one arm: all that matters, committed as a whole.

The state is written by Orbax, the metrics as JSON, and then the checksums of
all that was written. What is damaged later shows, and is not used.
"""

import json
from pathlib import Path
import re
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments import checksums
from experiments import errors
from experiments import files
from experiments import parsing
from experiments import storage
from experiments.training import distributed
from experiments.training.records import History

_KEPT = 2
_NUMBER = re.compile('[1-9][0-9]*')
# As Orbax calls what it has not written to the end.
_TEMPORARY = '.orbax-checkpoint-tmp'
_STATE, _HISTORY, _ARM = 'state', 'history/metadata', 'arm'


class Checkpoints:
  """The checkpoints in a directory, by number; the last two are kept.

  A checkpoint appears by a rename once it is complete, so that a process
  killed at any moment leaves only whole ones. One that is damaged all the same
  is passed over; it is deleted once there is a newer one that is whole.

  Attributes:
    damage: of each checkpoint that was passed over, its number and what is
      wrong with it. Only the process that writes knows.
  """

  def __init__(self, directory: Path) -> None:
    """Finds the checkpoints.

    Args:
      directory: of the arm; it is made if need be.

    Raises:
      StorageError: there are checkpoints, and all of them are damaged.
    """
    self._directory = directory.absolute()
    self._checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
    self.damage: dict[int, str] = {}
    self._latest = 0  # For none.
    distributed.on_primary(self._find)
    self._latest = distributed.agreed(self._latest)

  def _find(self) -> None:
    with files.writing(self._directory):
      self._directory.mkdir(parents=True, exist_ok=True)
      # What processes left that were killed while they wrote.
      for path in self._directory.glob(f'*{_TEMPORARY}'):
        if _NUMBER.fullmatch(path.name.removesuffix(_TEMPORARY)):
          _remove(path)
    numbers = self._numbers()
    for number in reversed(numbers):
      fault = self._fault(number)
      if fault is None:
        self._latest = number
        break
      self.damage[number] = fault
    if self.damage and not self._latest:
      faults = '; '.join(f'{n}: {fault}' for n, fault in self.damage.items())
      raise errors.StorageError(
        f'no checkpoint in {self._directory} is whole ({faults}): restore one '
        'of them, or delete this folder to train the arm from its start, or '
        'pass --overwrite to start the whole run again'
      )
    # What is left of older ones by a process that was killed deleting them.
    older = [number for number in numbers if number < self._latest]
    self._delete(older[: 1 - _KEPT])

  def _fault(self, number: int) -> str | None:
    """What is wrong with a checkpoint, None for nothing."""
    path = self._directory / str(number)
    if fault := checksums.fault(path):
      return fault
    try:
      arm = (path / _ARM).read_text()
    except (OSError, ValueError):  # What others made may have checksums, too.
      return f'{_ARM} cannot be read'
    if arm == self._directory.name:
      return None
    return f'it is one of {arm if arm.isprintable() else repr(arm):.40}'

  def _numbers(self) -> list[int]:
    """The numbers of all checkpoints, damaged or not; no stray folders'."""
    ours = {_STATE, _HISTORY.partition('/')[0], checksums.FILE}
    found = []
    for path in self._directory.iterdir():
      if _NUMBER.fullmatch(path.name) and path.is_dir():
        names = {inner.name for inner in path.iterdir()}
        if not names or names & ours:
          found.append(int(path.name))
    return sorted(found)

  def _delete(self, numbers: list[int]) -> None:
    for number in numbers:
      path = self._directory / str(number)
      with files.writing(path):
        _remove(path)

  def latest(self) -> int | None:
    """The last number whose checkpoint is whole, None before the first."""
    return self._latest or None

  def save(self, number: int, state: Any, history: History) -> None:
    """Saves the state and the metrics under a number higher than the last.

    Args:
      number: at least 1.
      state: a tree of arrays.
      history: the metrics.

    Raises:
      WritingError: the system refuses, or the directory is gone. The
        checkpoints before are as they were.
    """
    leaves = _by_path(distributed.fetch(state))
    temporary = self._directory / f'{number}{_TEMPORARY}'
    size = sum(leaf.nbytes for leaf in leaves.values())
    distributed.on_primary(lambda: self._begin(temporary, size))
    try:
      with files.writing(self._directory / str(number)):
        self._checkpointer.save(
          temporary / _STATE, args=ocp.args.StandardSave(leaves)
        )
        distributed.on_primary(lambda: self._commit(number, temporary, history))
    except Exception:
      # It may be what fills the disk.
      if distributed.is_primary():
        shutil.rmtree(temporary, ignore_errors=True)
      raise
    self._latest = number

  def _begin(self, temporary: Path, size: int) -> None:
    # Orbax would make the directory again, in a run that is gone.
    if not self._directory.is_dir():
      raise errors.StorageError(
        f'cannot write {self._directory}: the folder was removed'
      )
    number = temporary.name.removesuffix(_TEMPORARY)
    with files.writing(self._directory / number):
      storage.check_room(self._directory, size)
      temporary.mkdir()

  def _commit(self, number: int, temporary: Path, history: History) -> None:
    path = temporary / _HISTORY
    path.parent.mkdir()
    path.write_text(json.dumps(history.to_json()))
    (temporary / _ARM).write_text(self._directory.name)
    checksums.write(temporary)
    # A damaged one may be in its place, or whatever else has its name.
    _remove(self._directory / str(number))
    temporary.rename(self._directory / str(number))
    kept = self._latest, number
    self._delete([each for each in self._numbers() if each not in kept])

  def history(self, number: int) -> History:
    """The metrics that were saved under a number.

    Raises:
      StorageError: there are none, whatever the checksums say.
    """
    path = self._directory / str(number) / _HISTORY
    try:
      return History.from_json(parsing.read(path))
    except Exception as e:
      raise errors.StorageError(
        f'{path} holds no metrics of a run ({_line(e)}): delete the folder of '
        'this checkpoint, or pass --overwrite to start the whole run again'
      ) from e

  def state(self, number: int, abstract: Any) -> Any:
    """The state that was saved under a number.

    Args:
      number: which.
      abstract: a tree of shapes and dtypes, of the state's structure.

    Returns:
      The tree, of NumPy arrays.

    Raises:
      InvalidValueError: what was saved has another structure, shapes or dtypes.
      StorageError: it is no state at all, whatever the checksums say.
    """
    path = self._directory / str(number) / _STATE
    try:
      restored = self._checkpointer.restore(
        path, args=ocp.args.StandardRestore()
      )
    except Exception as e:  # Whatever Orbax makes of what it did not write.
      raise errors.StorageError(
        f'{path} cannot be read ({_line(e)}): delete the folder of this '
        'checkpoint, or pass --overwrite to start the whole run again'
      ) from e
    wanted = _by_path(abstract)
    # Orbax itself would pad, cut and cast.
    if _form(restored) != _form(wanted):
      raise errors.InvalidValueError(
        f'checkpoint {number} holds another kind of state'
      )
    leaves = [restored[name] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)

  def close(self) -> None:
    """Lets go of what Orbax holds."""
    self._checkpointer.close()


def _form(leaves: Any) -> dict[str, Any] | None:
  """Of each leaf the shape and dtype; None if these are no arrays by name."""
  if not isinstance(leaves, dict):
    return None
  return {
    name: (getattr(x, 'shape', None), getattr(x, 'dtype', None))
    for name, x in leaves.items()
  }


def _line(error: Exception) -> str:
  """The beginning of what an error says, on one line."""
  return ' '.join(f'{type(error).__name__}: {error}'.split())[:160]


def _remove(path: Path) -> None:
  """Removes a folder with what is in it, a file or a link, if it is there."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def _by_path(tree: Any) -> dict[str, Any]:
  """The leaves by path: no class of Flax or Optax gets into the files."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }
