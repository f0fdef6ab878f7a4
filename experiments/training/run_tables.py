"""The tables of a run directory, and `results.json`; each appears whole."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
import statistics
from typing import Any, NamedTuple

import numpy as np

from experiments import files
from experiments.training import stream_measures
from experiments.training.records import Diagnostics
from experiments.training.records import HISTOGRAM
from experiments.training.records import History
from experiments.training.stream_engine import evaluated_after


class Variant(NamedTuple):
  """An arm with one combination of hyperparameters, and its metrics.

  The combination is empty where the arm has a single one.
  """

  arm: str
  numbers: Mapping[str, float]
  history: History


def summarize(
  history: History,
  seeds: Sequence[int],
  learning_rate: float,
  length: int,
  unit: str,
) -> dict[str, Any]:
  """What `results.json` says of an arm that is trained for so many units.

  What is measured has a value for each seed, None for a diverged one; `mean`
  and `sd` (of the sample) are over the others.
  """
  bad = history.diverged()
  diverged = [seed for seed, b in zip(seeds, bad, strict=True) if b]
  status = 'finished' if history.epochs == length else 'running'
  seconds = history['train_seconds']
  return {
    'status': 'diverged' if diverged else status,
    unit: history.epochs,
    f'{unit}s': length,
    'learning_rate': learning_rate,
    'seeds': list(seeds),
    **(_of_tasks if unit == 'task' else _of_epochs)(history, bad),
    'diverged_seeds': diverged,
    f'{unit}_train_seconds': float(np.median(seconds))
    if seconds.size
    else None,
  }


def _of_epochs(history: History, bad: np.ndarray) -> dict[str, Any]:
  final: list[float | None] = [None] * len(bad)
  if history.epochs:
    final = _but(history['test_accuracy'][:, -1], bad)
  finite = [x for x in final if x is not None]
  return {
    'final_test_accuracy': final,
    'mean': statistics.fmean(finite) if finite else None,
    'sd': statistics.stdev(finite) if len(finite) > 1 else None,
  }


def _of_tasks(history: History, bad: np.ndarray) -> dict[str, Any]:
  measures: dict[str, Any] = {}
  if history.epochs:
    found = stream_measures.summaries(stream_measures.by_task(history))
    for name, values in found.items():
      kept = _but(values, bad | ~np.isfinite(values))
      finite = [x for x in kept if x is not None]
      measures[name] = {
        'values': kept,
        'mean': float(np.mean(finite)) if finite else None,
        'sd': float(np.std(finite, ddof=1)) if len(finite) > 1 else None,
      }
  return {'measures': measures}


def _but(values: np.ndarray, bad: np.ndarray) -> list[float | None]:
  return [None if b else x for x, b in zip(values.tolist(), bad, strict=True)]


def write(
  workdir: Path,
  variants: Sequence[Variant],
  seeds: Sequence[int],
  steps: int,
  unit: str,
) -> None:
  """Writes all tables: metrics, diagnostics, and the evaluations of a split.

  What a run recorded beyond the checkpoint that it is resumed from does not
  stay: tables without rows, but for the metrics, are removed.

  The metrics of tasks are in long format. `steps` are the updates of a unit,
  'epoch' or 'task'.
  """
  metrics: list[dict[str, Any]] = []
  evaluations: list[dict[str, Any]] = []
  alphas: list[dict[str, Any]] = []
  for arm, numbers, history in variants:
    measures = stream_measures.by_task(history)
    for trial, epoch in np.ndindex(len(seeds), history.epochs):
      whose = {'arm': arm, 'seed': seeds[trial]}
      place = {'epoch': epoch + 1, 'step': (epoch + 1) * steps, **numbers}
      values = {name: float(x[trial, epoch]) for name, x in measures.items()}
      for row in _alphas(history.diagnostics, trial, epoch):
        alphas.append({**whose, **place, **row})
      if unit == 'epoch':
        metrics.append({**whose, **place, **values})
        continue
      whose = {**whose, 'task': epoch + 1, **numbers}
      for name, value in values.items():
        if epoch or name not in stream_measures.OF_EARLIER:
          metrics.append({**whose, 'measure': name, 'value': value})
      for row in _evaluations(history.evaluations, steps, trial, epoch):
        evaluations.append({**whose, **row})
  _, numbers, history = variants[0]
  columns = ('arm', 'seed', 'epoch', 'step', *numbers, *history.names)
  if unit == 'task':
    columns = ('arm', 'seed', 'task', *numbers, 'measure', 'value')
  files.write_rows(workdir, 'metrics', columns, metrics)
  if evaluations:
    path = workdir / 'evaluations.csv'
    files.write_table(path, tuple(evaluations[0]), evaluations)
  else:
    _remove(workdir, 'evaluations.csv')
  if alphas:
    columns = tuple(name for name in alphas[0] if name != HISTOGRAM)
    files.write_rows(workdir, 'diagnostics', columns, alphas)
  else:
    _remove(workdir, 'diagnostics.csv', 'diagnostics.jsonl')


def _alphas(
  diagnostics: Diagnostics, trial: int, epoch: int
) -> Iterator[dict[str, Any]]:
  for i, leaf in enumerate(diagnostics.leaves):
    found = diagnostics.values.items()
    yield {'leaf': leaf, **{k: x[trial, epoch, i].tolist() for k, x in found}}


def _evaluations(
  evaluations: np.ndarray, updates: int, trial: int, task: int
) -> Iterator[dict[str, Any]]:
  if evaluations.size:
    each = zip(evaluated_after(updates), evaluations[trial, task], strict=True)
    for update, accuracies in each:
      for i, accuracy in enumerate(accuracies.tolist()):
        yield {'update': update, 'evaluated_task': i + 1, 'accuracy': accuracy}


def _remove(workdir: Path, *names: str) -> None:
  for name in names:
    with files.writing(workdir / name):
      files.remove(workdir / name)
