"""What the optimizer's diagnostics say of each epoch's last update.

They are read from the state after the epoch's program has ended: nothing waits
for them within it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import files

HISTOGRAM = 'alpha_histogram'


class Diagnostics:
  """The diagnostics of one arm so far.

  Attributes:
    leaves: the paths of the params, as in `hidden1/kernel`.
    values: by name, an array [trials, epochs, leaves], of the histogram
      [trials, epochs, leaves, bins].
  """

  def __init__(self) -> None:
    self.leaves: list[str] = []
    self.values: dict[str, np.ndarray] = {}

  @property
  def epochs(self) -> int:
    """How many epochs are recorded."""
    return self.values[HISTOGRAM].shape[1] if self.values else 0

  def append(self, found: Mapping[str, Any]) -> None:
    """Adds an epoch: what `get_diagnostics` gave, with an axis of trials."""
    paths = jax.tree.leaves_with_path(found[HISTOGRAM])
    self.leaves = [leaf_name(path) for path, _ in paths]
    for name, tree in jax.device_get(found).items():
      column = np.stack(jax.tree.leaves(tree), axis=1)[:, None]
      # As wide as what JSON gives back: means of it round alike.
      column = column.astype(_wide(column))
      old = self.values.get(name)
      self.values[name] = (
        column if old is None else np.concatenate([old, column], axis=1)
      )

  def to_json(self) -> dict[str, Any]:
    """As lists, from which `from_json` makes the same to the last bit."""
    values = {name: value.tolist() for name, value in self.values.items()}
    return {'leaves': self.leaves, 'values': values}

  @classmethod
  def from_json(cls, saved: Mapping[str, Any]) -> 'Diagnostics':
    """The inverse of `to_json`."""
    new = cls()
    new.leaves = list(saved['leaves'])
    new.values = {name: np.asarray(x) for name, x in saved['values'].items()}
    return new

  def part(self, trials: slice | np.ndarray) -> 'Diagnostics':
    """The diagnostics of some of the trials."""
    part = Diagnostics()
    part.leaves = self.leaves
    part.values = {name: x[trials] for name, x in self.values.items()}
    return part

  def finite(self) -> 'Diagnostics':
    """Those of the trials that stayed finite, or all if none did."""
    finite = np.all(
      [
        np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        for x in self.values.values()
      ],
      axis=0,
    )
    return self.part(finite if finite.any() else slice(None))

  def summary(self) -> dict[str, Any]:
    """Means over the trials that stayed finite, JSON-able.

    Returns:
      `leaves`, the paths of the params; `elements`, how many each has; and
      every statistic but the histogram by its name, [epochs][leaves], with None
      for what is not finite.
    """
    values = {name: x.mean(axis=0) for name, x in self.finite().values.items()}
    counts = values.pop(HISTOGRAM)[-1].sum(axis=-1)
    return {
      'leaves': self.leaves,
      'elements': [round(count) for count in counts],
      **{
        name: [
          [x if np.isfinite(x) else None for x in row] for row in each.tolist()
        ]
        for name, each in values.items()
      },
    }

  def rows(
    self, identities: Callable[[int, int], Mapping[str, Any]]
  ) -> Iterator[dict[str, Any]]:
    """One row for each trial, epoch and leaf; the histogram is a list.

    Args:
      identities: of a trial and an epoch, both from 0, the columns that tell
        its rows from others.

    Yields:
      The rows.
    """
    trials = len(self.values[HISTOGRAM]) if self.values else 0
    for trial in range(trials):
      for epoch in range(self.epochs):
        for i, leaf in enumerate(self.leaves):
          row: dict[str, Any] = {**identities(trial, epoch), 'leaf': leaf}
          for name, value in self.values.items():
            row[name] = value[trial, epoch, i].tolist()
          yield row


def _wide(x: np.ndarray) -> type[np.generic]:
  return np.float64 if np.issubdtype(x.dtype, np.floating) else np.int64


def leaf_name(path: Any) -> str:
  """The path of a leaf, without the `value` of NNX's variables."""
  name = jax.tree_util.keystr(path, simple=True, separator='/')
  return name.removesuffix('/value')


def write(workdir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes `diagnostics.csv`, without histograms, and `diagnostics.jsonl`.

  Without rows there are no such files: what a run recorded beyond the
  checkpoint that it is resumed from does not stay.

  Args:
    workdir: the run directory.
    rows: as `Diagnostics.rows` gives them.
  """
  if rows:
    columns = [name for name in rows[0] if name != HISTOGRAM]
    files.write_rows(workdir, 'diagnostics', columns, rows)
    return
  for path in (workdir / 'diagnostics.csv', workdir / 'diagnostics.jsonl'):
    with files.writing(path):
      files.remove(path)
