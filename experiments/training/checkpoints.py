"""Checkpoints of one arm: all that matters, committed as a whole, by orbax."""

from pathlib import Path
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments import errors
from experiments.training import distributed
from experiments.training.records import History

_KEPT = 2


class Checkpoints:
  """The checkpoints in a directory, by number; the last two are kept.

  A checkpoint appears by a rename once it is complete, so that a process
  killed at any moment leaves only whole ones.
  """

  def __init__(self, directory: Path) -> None:
    # What is left of older ones by a process that was killed deleting them.
    if distributed.is_primary():
      numbers = sorted(
        int(p.name) for p in directory.glob('*') if p.name.isdigit()
      )
      for number in numbers[:-_KEPT]:
        shutil.rmtree(directory / str(number))
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=_KEPT,
        # On CPUs a copy to the host is a view of a buffer that the next epoch
        # is given to write into.
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
      ),
      item_names=('state', 'history'),
    )

  def latest(self) -> int | None:
    """The last number that was saved, None before the first."""
    return self._manager.latest_step()

  def save(self, number: int, state: Any, history: History) -> None:
    """Saves the state and the metrics under a number higher than the last."""
    leaves = _by_path(distributed.fetch(state))
    self._manager.save(
      number,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(leaves),
        history=ocp.args.JsonSave(history.to_json()),
      ),
    )

  def history(self, number: int) -> History:
    """The metrics that were saved under a number."""
    restored = self._manager.restore(
      number, args=ocp.args.Composite(history=ocp.args.JsonRestore())
    )
    return History.from_json(restored['history'])

  def state(self, number: int, abstract: Any) -> Any:
    """The state that was saved under a number.

    Args:
      number: which.
      abstract: a tree of shapes and dtypes, of the state's structure.

    Returns:
      The tree, of NumPy arrays.

    Raises:
      InvalidValueError: what was saved has another structure, shapes or dtypes.
    """
    restored = self._manager.restore(
      number, args=ocp.args.Composite(state=ocp.args.StandardRestore())
    )['state']
    wanted = _by_path(abstract)
    # Orbax itself would pad, cut and cast.
    form = lambda leaves: {k: (x.shape, x.dtype) for k, x in leaves.items()}
    if form(restored) != form(wanted):
      raise errors.InvalidValueError(
        f'checkpoint {number} holds another kind of state'
      )
    leaves = [restored[name] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)

  def close(self) -> None:
    """Waits for what is under way."""
    self._manager.close()


def _by_path(tree: Any) -> dict[str, Any]:
  """The leaves by path: no class of Flax or Optax gets into the files."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }
