"""Makes the tables that show how the arms of a study learned streams.

`streams` has each measure over all tasks for every seed; `measures` each
measure task by task; `evaluations`, of splits, the accuracy on every task at
the end of each, and that on the first task at every evaluation. `mean` and `sd`
are over the `n` seeds that stayed finite.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np
import pandas as pd

from experiments.studies import frames
from experiments.studies import known
from experiments.studies.cells import Outcome
from experiments.studies.declarations import Task
from experiments.studies.plan import Final
from experiments.training import stream_engine
from experiments.training import stream_measures

# A network that this arm trains, new with every task, is the reference.
_FRESH = 'adam'


def makers(finals: Sequence[Final]) -> dict[str, known.Make]:
  """By the name of a table, what makes its rows of some of these results."""
  fresh = {
    final.condition.task: dict(zip(final.seeds, _online(outcome), strict=True))
    for final, outcome in _there(finals)
    if final.condition.task.restart and final.arm == _FRESH
  }
  return {
    'streams': functools.partial(_streams, fresh),
    'measures': _measures,
    'evaluations': _evaluations,
  }


def _there(finals: Sequence[Final]) -> Iterator[tuple[Final, Outcome]]:
  """The results that are there, with their outcomes."""
  for final in finals:
    if final.outcome is not None and final.outcome.measures is not None:
      yield final, final.outcome


def _streams(
  fresh: Mapping[Task, Mapping[int, np.ndarray]], finals: Sequence[Final]
) -> Iterator[Any]:
  """Each measure of every seed over all tasks, as `stream_measures.summaries`.

  Besides, the gap to a fresh network: for it, the same condition is looked up
  with a restart at every task. The values of a diverged seed are left empty.
  """
  for final, outcome in _there(finals):
    task = final.condition.task
    found = stream_measures.summaries(_by_task(outcome))
    reference = fresh.get(dataclasses.replace(task, restart=True), {})
    nothing = np.full(task.length, np.nan)
    gaps = stream_measures.gap_to_fresh(
      _online(outcome),
      np.array([reference.get(seed, nothing) for seed in final.seeds]),
    )
    if np.isfinite(gaps).any():
      found['gap_to_fresh'] = gaps
    diverged = np.array(outcome.diverged)
    for name, values in found.items():
      yield {
        **final.identity,
        'seed': final.seeds,
        'measure': name,
        'value': np.where(diverged, np.nan, values),
        'status': np.where(diverged, frames.DIVERGED, frames.FINISHED),
      }


def _measures(finals: Sequence[Final]) -> Iterator[Any]:
  """Each measure, task by task."""
  for final, outcome in _there(finals):
    kept = ~np.array(outcome.diverged)
    for name, values in _by_task(outcome).items():
      spreads = pd.DataFrame(map(_spread, values[kept].T))
      spreads = spreads.assign(
        **final.identity, task=np.arange(1, len(spreads) + 1), measure=name
      )
      # Forgetting, say, has no value after the first task.
      yield spreads[spreads['n'] > 0]


def _evaluations(finals: Sequence[Final]) -> Iterator[Any]:
  """The evaluations that are plotted."""
  for final, outcome in _there(finals):
    if outcome.evaluations is None:
      continue
    # [seeds, tasks, evaluations, evaluated]
    found = np.array(outcome.evaluations)[~np.array(outcome.diverged)]
    updates = stream_engine.evaluated_after(outcome.steps_per_epoch)
    rows = [
      {
        'task': task + 1,
        'update': updates[i],
        'evaluated_task': evaluated + 1,
        **_spread(found[:, task, i, evaluated]),
      }
      for task, i, evaluated in np.ndindex(found.shape[1:])
      if evaluated == 0 or i == len(updates) - 1
    ]
    yield pd.DataFrame(rows).assign(**final.identity)


def _by_task(outcome: Outcome) -> dict[str, np.ndarray]:
  """By name, [seeds, tasks]; NaN where a measure is not finite."""
  assert outcome.measures is not None
  return {name: np.array(x, float) for name, x in outcome.measures.items()}


def _online(outcome: Outcome) -> np.ndarray:
  """The online accuracy, [seeds, tasks]."""
  return _by_task(outcome)[stream_measures.ONLINE_ACCURACY]


def _spread(values: np.ndarray) -> dict[str, Any]:
  """The mean and the deviation of those that are finite."""
  finite = values[np.isfinite(values)]
  return {
    'n': len(finite),
    'mean': finite.mean() if len(finite) else np.nan,
    'sd': finite.std(ddof=1) if len(finite) > 1 else np.nan,
  }
