"""What the reported runs on streams did: three tables beside the others.

`streams.csv` has, of every seed, each measure over all tasks; `measures.csv`
each measure task by task; `evaluations.csv`, of splits, the accuracy on every
task at the end of each, and that on the first task at every evaluation.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

import numpy as np

from experiments.studies import results
from experiments.studies.cells import Outcome
from experiments.studies.plan import Final
from experiments.studies.plan import Plan
from experiments.studies.series import short
from experiments.training import measures
from experiments.training import stream_engine
from experiments.training import stream_records

STREAMS, MEASURES = 'streams.csv', 'measures.csv'
EVALUATIONS = 'evaluations.csv'
# A network that this arm trains, new with every task, is the reference.
_FRESH = 'adam'
_IDENTITY = ('condition', 'ruleset', 'arm')
_SUMMARIES = (*_IDENTITY, 'seed', 'measure', 'value', 'status')
_BY_TASK = (*_IDENTITY, 'task', 'measure', 'n', 'mean', 'sd')
_EVALUATIONS = (
  *(*_IDENTITY, 'task', 'update', 'evaluated_task'),
  *('n', 'mean', 'sd'),
)


def summary_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every arm, condition, ruleset, seed and measure.

  As `stream_records.summaries` has them; and the gap to a fresh network, for
  which the same condition is looked up with a restart at every task. What a
  diverged seed measured is left empty.
  """
  fresh = {
    final.condition.task: dict(zip(final.seeds, _online(outcome), strict=True))
    for final, outcome in _there(plan)
    if final.condition.task.restart and final.arm == _FRESH
  }
  for final, outcome in _there(plan):
    found = stream_records.summaries(_measures(outcome))
    reference = fresh.get(
      dataclasses.replace(final.condition.task, restart=True), {}
    )
    gaps = measures.gap_to_fresh(
      _online(outcome),
      np.array(
        [
          reference.get(seed, np.full(final.condition.task.length, np.nan))
          for seed in final.seeds
        ]
      ),
    )
    if np.isfinite(gaps).any():
      found['gap_to_fresh'] = gaps
    for name, values in found.items():
      for seed, value, diverged in zip(
        final.seeds, values, outcome.diverged, strict=True
      ):
        yield {
          **final.identity,
          'seed': seed,
          'measure': name,
          'value': '' if diverged else short(value),
          'status': results.DIVERGED if diverged else results.FINISHED,
        }


def task_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every arm, condition, ruleset, task and measure.

  `mean` and `sd` are over the `n` seeds that stayed finite.
  """
  for final, outcome in _there(plan):
    kept = ~np.array(outcome.diverged)
    for name, values in _measures(outcome).items():
      for task, column in enumerate(values[kept].T):
        # Forgetting, say, has no value after the first task.
        if np.isfinite(column).any():
          yield {
            **final.identity,
            'task': task + 1,
            'measure': name,
            **_spread(column),
          }


def evaluation_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every evaluation that is drawn; see the module."""
  for final, outcome in _there(plan):
    if outcome.evaluations is None:
      continue
    # [seeds, tasks, evaluations, evaluated]
    found = np.array(outcome.evaluations)[~np.array(outcome.diverged)]
    updates, times = outcome.steps_per_epoch, found.shape[2]
    every = stream_engine.evaluate_every(updates)
    for task, i, evaluated in np.ndindex(found.shape[1:]):
      if evaluated == 0 or i == times - 1:
        yield {
          **final.identity,
          'task': task + 1,
          'update': min((i + 1) * every, updates),
          'evaluated_task': evaluated + 1,
          **_spread(found[:, task, i, evaluated]),
        }


def tables(
  plan: Plan,
) -> list[tuple[str, tuple[str, ...], Iterator[dict[str, Any]]]]:
  """The names of the tables, their columns and their rows."""
  return [
    (STREAMS, _SUMMARIES, summary_rows(plan)),
    (MEASURES, _BY_TASK, task_rows(plan)),
    (EVALUATIONS, _EVALUATIONS, evaluation_rows(plan)),
  ]


def _there(plan: Plan) -> Iterator[tuple[Final, Outcome]]:
  for final, outcome in plan.reported():
    if outcome.measures is not None:
      yield final, outcome


def _measures(outcome: Outcome) -> dict[str, np.ndarray]:
  """By name, [seeds, tasks]; NaN where a measure is not finite."""
  assert outcome.measures is not None
  return {name: np.array(x, float) for name, x in outcome.measures.items()}


def _online(outcome: Outcome) -> np.ndarray:
  """The online accuracy, [seeds, tasks]."""
  return _measures(outcome)[stream_engine.ONLINE_ACCURACY]


def _spread(values: np.ndarray) -> dict[str, Any]:
  """Mean and deviation of those that are finite."""
  finite = values[np.isfinite(values)]
  return {
    'n': len(finite),
    'mean': short(finite.mean()) if len(finite) else '',
    'sd': short(finite.std(ddof=1)) if len(finite) > 1 else '',
  }
