"""What is recorded of a stream, in long format; beside `records`.

The functions are those of `records`, of a history of tasks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import math
from pathlib import Path
import types
from typing import Any

import numpy as np

from experiments import files
from experiments.training import measures
from experiments.training import records
from experiments.training.records import History
from experiments.training.stream_engine import evaluated_after
from experiments.training.stream_engine import ONLINE_ACCURACY

# Of a split, after each task; from its matrix of accuracies, or from all
# evaluations.
_OF_MATRIX: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  'average_accuracy': measures.average_accuracy,
  'backward_transfer': measures.backward_transfer,
  'forgetting': measures.forgetting,
}
_OF_EVALUATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  'min_accuracy': measures.min_accuracy,
  'worst_case_accuracy': measures.worst_case_accuracy,
}
# These have no value after the first task.
_OF_EARLIER = {'backward_transfer', 'forgetting', 'min_accuracy'}
_KEYS = ('arm', 'seed', 'task')
# Tell the rows of `evaluations.csv` from those of the metrics.
_EVALUATED = 'evaluated_task'


def measured(history: History) -> dict[str, np.ndarray]:
  """Every measure of every task so far.

  Args:
    history: of an arm.

  Returns:
    By name, [trials, tasks]; NaN where a measure has no value yet.
  """
  found = {name: history[name] for name in history.names}
  evaluations = history.evaluations
  if not evaluations.size:
    return found
  # Of tasks to come there are evaluations, too, but no matrix.
  done = evaluations[..., : history.epochs]
  for name, function in _OF_MATRIX.items():
    found[name] = function(done[:, :, -1])
  for name, measure in _OF_EVALUATIONS.items():
    found[name] = measure(done)
  return found


def summarize(
  history: History, seeds: Sequence[int], learning_rate: float, tasks: int
) -> dict[str, Any]:
  """What `results.json` says of an arm.

  Args:
    history: its metrics so far.
    seeds: the seeds of its trials.
    learning_rate: its learning rate.
    tasks: how many it is to learn.

  Returns:
    A JSON-able dictionary. `measures` has, by name, a value for each seed
    (None for a diverged one), and `mean` and `sd` of the others; see
    `summaries`.
  """
  bad = history.diverged()
  diverged = [seed for seed, b in zip(seeds, bad, strict=True) if b]
  done = history.epochs == tasks
  status = 'finished' if done else 'running'
  values = summaries(measured(history)) if history.epochs else {}
  return {
    'status': 'diverged' if diverged else status,
    'task': history.epochs,
    'tasks': tasks,
    'learning_rate': learning_rate,
    'seeds': list(seeds),
    'measures': {name: _spread(x, bad) for name, x in values.items()},
    'diverged_seeds': diverged,
    'task_train_seconds': records.median(history['train_seconds']),
  }


def summaries(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Every measure over all tasks.

  Args:
    found: as `measured` gives them.

  Returns:
    By name, a number for each trial: online accuracy of all tasks, of the first
    and of the last tenth; what a split forgot, after the last task; all else as
    a mean over the tasks.
  """
  online = found[ONLINE_ACCURACY]
  summaries = {
    ONLINE_ACCURACY: online.mean(-1),
    f'{ONLINE_ACCURACY}_first_tenth': measures.first_tenth(online),
    f'{ONLINE_ACCURACY}_last_tenth': measures.last_tenth(online),
  }
  for name, values in found.items():
    if name in _OF_MATRIX or name in _OF_EVALUATIONS:
      summaries[name] = values[:, -1]
    elif name not in summaries and not name.endswith('_seconds'):
      summaries[name] = values.mean(-1)
  return summaries


def _spread(values: np.ndarray, bad: np.ndarray) -> dict[str, Any]:
  kept = [
    None if b or not math.isfinite(x) else float(x)
    for x, b in zip(values, bad, strict=True)
  ]
  finite = [x for x in kept if x is not None]
  return {
    'values': kept,
    'mean': float(np.mean(finite)) if finite else None,
    'sd': float(np.std(finite, ddof=1)) if len(finite) > 1 else None,
  }


def rows(
  arm: str,
  history: History,
  seeds: Sequence[int],
  steps_per_epoch: int,
  numbers: Mapping[str, float] = types.MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
  """A row for each trial, task and measure, and for each evaluation.

  Args:
    arm: the arm.
    history: its metrics.
    seeds: the seed of every trial.
    steps_per_epoch: updates a task.
    numbers: those that tell these trials from others.

  Yields:
    The rows. Those of evaluations have no measure; they have the task that was
    evaluated, from 1, and the updates of the present task until then.
  """
  found = measured(history)
  for trial, seed in enumerate(seeds):
    for task in range(history.epochs):
      identity = {'arm': arm, 'seed': seed, 'task': task + 1, **numbers}
      for name, values in found.items():
        if task or name not in _OF_EARLIER:
          yield {
            **identity,
            'measure': name,
            'value': float(values[trial, task]),
          }
      if history.evaluations.size:
        yield from _evaluations(
          identity, history.evaluations[trial, task], steps_per_epoch
        )


def _evaluations(
  identity: Mapping[str, Any], accuracies: np.ndarray, updates: int
) -> Iterator[dict[str, Any]]:
  """The rows of the evaluations of a task, [evaluations, tasks]."""
  for update, row in zip(evaluated_after(updates), accuracies, strict=True):
    for evaluated, accuracy in enumerate(row):
      yield {
        **identity,
        'update': update,
        _EVALUATED: evaluated + 1,
        'accuracy': float(accuracy),
      }


def write(
  workdir: Path,
  rows_: Sequence[Mapping[str, Any]],
  results: Mapping[str, Any],
  numbers: Sequence[str] = (),
) -> None:
  """Writes `metrics.csv`, `metrics.jsonl`, `results.json`, `evaluations.csv`.

  The last one only of a split. Each appears whole.

  Args:
    workdir: the run directory.
    rows_: the rows of the tables.
    results: what `results.json` says.
    numbers: the names of the numbers in the rows.
  """
  metrics = [row for row in rows_ if 'measure' in row]
  keys = (*_KEYS, *numbers)
  files.write_rows(workdir, 'metrics', (*keys, 'measure', 'value'), metrics)
  evaluations = [row for row in rows_ if _EVALUATED in row]
  table = workdir / 'evaluations.csv'
  if evaluations:
    columns = (*keys, 'update', _EVALUATED, 'accuracy')
    files.write_table(table, columns, evaluations)
  else:
    with files.writing(table):
      files.remove(table)
  files.write_json(workdir / 'results.json', results)
