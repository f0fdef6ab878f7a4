"""Metrics: what is recorded of a run, and the files that tell of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
import statistics
import types
from typing import Any

import numpy as np

from experiments import files
from experiments.training.diagnostics import Diagnostics

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


_LOSSES = ('train_loss', 'test_loss', 'online_loss', 'weight_norm')


class History:
  """The metrics of one arm so far: for each, an array [trials, epochs].

  Attributes:
    diagnostics: what the optimizer's say.
    evaluations: of a split [trials, tasks, evaluations, tasks], accuracies;
      else without any.
  """

  def __init__(self, trials: int, names: Sequence[str] = METRICS) -> None:
    """A history without epochs.

    Args:
      trials: how many.
      names: of the metrics.
    """
    self._values = {name: np.empty((trials, 0)) for name in names}
    self.diagnostics = Diagnostics()
    self.evaluations = np.empty((trials, 0, 0, 0))
    # Of the epoch under way: how long it took so far.
    self.seconds = 0.0
    # How many updates the state has seen that is saved beside it.
    self.updates = 0

  @property
  def names(self) -> tuple[str, ...]:
    """The metrics."""
    return tuple(self._values)

  @property
  def epochs(self) -> int:
    """How many epochs are recorded."""
    return next(iter(self._values.values())).shape[1]

  def __getitem__(self, name: str) -> np.ndarray:
    return self._values[name]

  def append(
    self, evaluations: np.ndarray | None = None, **metrics: Any
  ) -> None:
    """Adds an epoch.

    Args:
      evaluations: of a split, [trials, evaluations, tasks].
      **metrics: of each a number, or one for each trial.
    """
    if evaluations is not None:
      new = evaluations[:, None]
      self.evaluations = (
        np.concatenate([self.evaluations, new], axis=1) if self.epochs else new
      )
    for name, old in self._values.items():
      column = np.broadcast_to(np.asarray(metrics[name], float), len(old))
      self._values[name] = np.column_stack([old, column])

  def diverged(self) -> np.ndarray:
    """Which trials have met a loss that is not finite."""
    # The last update of an epoch is met by the test loss alone, or by ‖w‖.
    losses = np.hstack([self[name] for name in _LOSSES if name in self._values])
    return ~np.all(np.isfinite(losses), axis=1)

  def part(self, trials: slice | np.ndarray) -> 'History':
    """The metrics of some of the trials."""
    part = History(0)
    part._values = {name: x[trials] for name, x in self._values.items()}
    part.diagnostics = self.diagnostics.part(trials)
    part.evaluations = self.evaluations[trials]
    return part

  def to_json(self) -> dict[str, Any]:
    """As lists, from which `from_json` makes the same to the last bit."""
    values = {name: value.tolist() for name, value in self._values.items()}
    if self.evaluations.size:
      values['evaluations'] = self.evaluations.tolist()
    return {
      **values,
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
    if 'evaluations' in left:
      history.evaluations = np.asarray(left.pop('evaluations'))
    history._values = {name: np.asarray(x, float) for name, x in left.items()}
    if not left or len({x.shape for x in history._values.values()}) != 1:
      raise ValueError('the metrics are not of the same trials and epochs')
    return history


def summarize(
  history: History, seeds: Sequence[int], learning_rate: float, epochs: int
) -> dict[str, Any]:
  """What `results.json` says of an arm.

  Args:
    history: its metrics so far.
    seeds: the seeds of its trials.
    learning_rate: its learning rate.
    epochs: how many epochs it is to be trained.

  Returns:
    A JSON-able dictionary. Accuracies are fractions, those of diverged seeds
    None; `mean` and `sd` (of the sample) are over the others.
  """
  done = history.epochs == epochs
  bad = history.diverged()
  final: list[float | None] = [None] * len(seeds)
  if history.epochs:
    last = history['test_accuracy'][:, -1].tolist()
    final = [None if b else x for x, b in zip(last, bad, strict=True)]
  finite = [x for x in final if x is not None]
  diverged = [seed for seed, b in zip(seeds, bad, strict=True) if b]
  status = 'finished' if done else 'running'
  return {
    'status': 'diverged' if diverged else status,
    'epoch': history.epochs,
    'epochs': epochs,
    'learning_rate': learning_rate,
    'seeds': list(seeds),
    'final_test_accuracy': final,
    'mean': statistics.fmean(finite) if finite else None,
    'sd': statistics.stdev(finite) if len(finite) > 1 else None,
    'diverged_seeds': diverged,
    'epoch_train_seconds': median(history['train_seconds']),
  }


def median(values: np.ndarray) -> float | None:
  """The median of all values; None without any."""
  return float(np.median(values)) if values.size else None


def identity(
  arm: str, seed: int, epoch: int, steps_per_epoch: int
) -> dict[str, Any]:
  """The columns that tell the rows of tables apart; epochs count from 0."""
  step = (epoch + 1) * steps_per_epoch
  return {'arm': arm, 'seed': seed, 'epoch': epoch + 1, 'step': step}


def rows(
  arm: str,
  history: History,
  seeds: Sequence[int],
  steps_per_epoch: int,
  numbers: Mapping[str, float] = types.MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
  """One row for each trial and epoch.

  Args:
    arm: the arm.
    history: its metrics.
    seeds: the seed of every trial.
    steps_per_epoch: updates an epoch.
    numbers: those that tell these trials from others.

  Yields:
    The rows.
  """
  for trial, seed in enumerate(seeds):
    for epoch in range(history.epochs):
      metrics = {name: float(history[name][trial, epoch]) for name in METRICS}
      yield {
        **identity(arm, seed, epoch, steps_per_epoch),
        **numbers,
        **metrics,
      }


def write(
  workdir: Path,
  rows_: Sequence[Mapping[str, Any]],
  results: Mapping[str, Any],
  numbers: Sequence[str] = (),
) -> None:
  """Writes `metrics.csv`, `metrics.jsonl` and `results.json`, each whole.

  Args:
    workdir: the run directory.
    rows_: the rows of the tables.
    results: what `results.json` says.
    numbers: the names of the numbers in the rows.
  """
  columns = ('arm', 'seed', 'epoch', 'step', *numbers, *METRICS)
  files.write_rows(workdir, 'metrics', columns, rows_)
  files.write_json(workdir / 'results.json', results)
