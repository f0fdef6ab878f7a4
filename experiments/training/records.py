"""What is recorded of an arm, epoch by epoch: metrics and diagnostics."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

# Of every trial and epoch. Losses are mean cross-entropies in nats,
# accuracies fractions; the seconds are those of all trials together.
METRICS = (
  'train_loss',
  'train_accuracy',
  'test_loss',
  'test_accuracy',
  'train_seconds',
  'test_seconds',
)
HISTOGRAM = 'alpha_histogram'
_LOSSES = ('train_loss', 'test_loss', 'online_loss', 'weight_norm')
_EVALUATIONS = 'evaluations'


class _Recorded:
  """Arrays that grow by an epoch.

  Attributes:
    values: by name, [trials, epochs, …].
  """

  def __init__(self, values: Mapping[str, np.ndarray]) -> None:
    self.values = dict(values)

  @property
  def epochs(self) -> int:
    """How many epochs are recorded."""
    return next((x.shape[1] for x in self.values.values()), 0)

  def _add(self, name: str, column: np.ndarray) -> None:
    parts = [self.values[name]] if name in self.values else []
    self.values[name] = np.concatenate([*parts, column[:, None]], axis=1)

  def _lists(self) -> dict[str, Any]:
    return {name: x.tolist() for name, x in self.values.items()}

  def _part(self, trials: slice | np.ndarray) -> dict[str, np.ndarray]:
    return {name: x[trials] for name, x in self.values.items()}


class Diagnostics(_Recorded):
  """What the optimizer says of the last update of each epoch.

  Attributes:
    values: by name, [trials, epochs, leaves]; of the histogram
      [trials, epochs, leaves, bins].
    leaves: the paths of the params, as in `hidden1/kernel`.
  """

  def __init__(
    self,
    values: Mapping[str, np.ndarray] | None = None,
    leaves: Sequence[str] = (),
  ) -> None:
    super().__init__(values or {})
    self.leaves = list(leaves)

  def append(self, found: Mapping[str, Any]) -> None:
    """Adds an epoch: what `get_diagnostics` gave, with an axis of trials."""
    paths = jax.tree.leaves_with_path(found[HISTOGRAM])
    self.leaves = [leaf_name(path) for path, _ in paths]
    for name, tree in found.items():
      column = np.stack(jax.tree.leaves(tree), axis=1)
      # As wide as what JSON gives back: means of it round alike.
      floats = np.issubdtype(column.dtype, np.floating)
      self._add(name, column.astype(np.float64 if floats else np.int64))

  def to_json(self) -> dict[str, Any]:
    """As lists, from which `from_json` makes the same to the last bit."""
    return {'leaves': self.leaves, 'values': self._lists()}

  @classmethod
  def from_json(cls, saved: Mapping[str, Any]) -> 'Diagnostics':
    """The inverse of `to_json`."""
    values = {name: np.asarray(x) for name, x in saved['values'].items()}
    return cls(values, saved['leaves'])

  def part(self, trials: slice | np.ndarray) -> 'Diagnostics':
    """The diagnostics of some of the trials."""
    return Diagnostics(self._part(trials), self.leaves)

  def means(self) -> dict[str, np.ndarray]:
    """Means over the trials that stayed finite, or over all if none did."""
    finite = np.all(
      [
        np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        for x in self.values.values()
      ],
      axis=0,
    )
    kept = self._part(finite if finite.any() else slice(None))
    return {name: x.mean(axis=0) for name, x in kept.items()}

  def summary(self) -> dict[str, Any]:
    """The means, JSON-able.

    Returns:
      `leaves`, the paths of the params; `elements`, how many each has; and
      every statistic but the histogram by its name, [epochs][leaves], with None
      for what is not finite.
    """
    values = self.means()
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


def leaf_name(path: Any) -> str:
  """The path of a leaf, without the `value` of NNX's variables."""
  if path[-1:] == (jax.tree_util.GetAttrKey('value'),):
    path = path[:-1]
  return jax.tree_util.keystr(path, simple=True, separator='/')


class History(_Recorded):
  """The metrics of one arm so far, and of a split its evaluations.

  Attributes:
    values: by name, a metric [trials, epochs]; evaluations, which are
      accuracies, [trials, tasks, evaluations, tasks].
    diagnostics: what the optimizer's say.
    seconds: how long the epoch under way took so far.
    updates: how many updates the state has seen that is saved beside it.
  """

  def __init__(self, trials: int, names: Sequence[str] = METRICS) -> None:
    super().__init__({name: np.empty((trials, 0)) for name in names})
    self.diagnostics = Diagnostics()
    self.seconds = 0.0
    self.updates = 0

  @property
  def names(self) -> tuple[str, ...]:
    """The metrics."""
    return tuple(name for name in self.values if name != _EVALUATIONS)

  @property
  def evaluations(self) -> np.ndarray:
    """Those of a split; else an array without any."""
    return self.values.get(_EVALUATIONS, np.empty((0, 0, 0, 0)))

  def __getitem__(self, name: str) -> np.ndarray:
    return self.values[name]

  def append(self, **columns: Any) -> None:
    """Adds an epoch.

    Args:
      **columns: of each metric a number, or one for each trial; of a split
        also `evaluations`, [trials, evaluations, tasks].
    """
    trials = len(next(iter(self.values.values())))
    for name, column in columns.items():
      x = np.asarray(column, float)
      self._add(name, np.broadcast_to(x, (trials, *x.shape[1:])))

  def diverged(self) -> np.ndarray:
    """Which trials have met a loss that is not finite."""
    # The last update of an epoch is met by the test loss alone, or by ‖w‖.
    losses = np.hstack([self[name] for name in _LOSSES if name in self.values])
    return ~np.all(np.isfinite(losses), axis=1)

  def part(self, trials: slice | np.ndarray) -> 'History':
    """The metrics of some of the trials."""
    part = History(0)
    part.values = self._part(trials)
    part.diagnostics = self.diagnostics.part(trials)
    return part

  def to_json(self) -> dict[str, Any]:
    """As lists, from which `from_json` makes the same to the last bit."""
    return {
      **self._lists(),
      'diagnostics': self.diagnostics.to_json(),
      'seconds': self.seconds,
      'updates': self.updates,
    }

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'History':
    """The inverse of `to_json`.

    Raises:
      Exception: of any kind, if the values are of something else.
    """
    left = dict(values)
    history = cls(0)
    history.diagnostics = Diagnostics.from_json(left.pop('diagnostics'))
    history.seconds, history.updates = left.pop('seconds'), left.pop('updates')
    history.values = {name: np.asarray(x, float) for name, x in left.items()}
    if len({x.shape[:2] for x in history.values.values()}) != 1:
      raise ValueError('the metrics are not of the same trials and epochs')
    return history
