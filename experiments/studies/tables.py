"""Makes the tables of a study from the outcomes of its cells.

Those of streams are made in `stream_tables`.
"""

from collections.abc import Iterator, Mapping, Sequence
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import optimizers
from experiments.studies import comparisons
from experiments.studies import frames
from experiments.studies import known
from experiments.studies import scores
from experiments.studies import speeds
from experiments.studies import statistics
from experiments.studies import stream_tables
from experiments.studies.cells import Outcome
from experiments.studies.declarations import Condition
from experiments.studies.plan import Final
from experiments.studies.plan import Plan
from experiments.studies.speeds import Speeds
from experiments.studies.tuner import Trial
from experiments.studies.tuner import Tuner

# What follows the epoch and the leaf.
_OF_ALPHA = frames.TABLES['alpha'][6:]


class Tables(NamedTuple):
  """All tables of a study, as far as results are there.

  Attributes:
    frames: by name, the tables; see `frames.TABLES`.
    conditions: for `study.json`, the chance and target of each condition.
    tuning: for `study.json`, the results of the tuning.
  """

  frames: dict[str, pd.DataFrame]
  conditions: dict[str, Any]
  tuning: dict[str, Any]

  def write(self, folder: Path) -> None:
    """Writes the tables."""
    for name, frame in self.frames.items():
      frames.write(folder, name, frame)


def make(plan: Plan, speeds_: Speeds | None = None) -> Tables:
  """Makes all tables; without speeds, the seconds to the target are empty."""
  tuners = plan.tuners()
  finals = plan.finals(tuners)
  conditions = plan.study.conditions
  results = known.table('results', finals, _results)
  chances = {each.name: each.chance for each in conditions}
  targets = _targets(
    conditions, scores.with_accuracy(results, chances, 'validation_accuracy')
  )
  results = _timed(results, finals, targets, speeds_ or {})
  rows: dict[str, known.Make] = {'curves': _curves, 'alpha': _alpha}
  if any(each.task.stream for each in conditions):
    rows |= stream_tables.makers(finals)
  made = {
    'trials': frames.make('trials', _trials(plan, tuners)),
    'results': results,
    'comparisons': _comparisons(
      conditions, scores.with_accuracy(results, chances)
    ),
    **{name: known.table(name, finals, make) for name, make in rows.items()},
  }
  said = {
    name: {'chance': chance, 'target': targets.get(name)}
    for name, chance in chances.items()
  }
  return Tables(made, said, {k: _tuned(x) for k, x in tuners.items()})


def _trials(plan: Plan, tuners: Mapping[str, Tuner]) -> Iterator[Any]:
  """The trials of each stage of the tuner, each with all of its seeds.

  Trials are numbered in the order in which they were made, those of an arm
  under a condition from 0; the best have more rows, of their other seeds.
  """
  for condition, tuner in tuners.items():
    assert plan.study.tuning is not None
    task = plan.study.tuning.tasks[condition]
    for arm in tuner.arms:
      made = [_text(arm, each) for each in tuner.trials(arm)]
      for stage in tuner.stages(arm):
        if stage.batch is None:
          continue
        cell = plan.tuning_cell(task, arm, stage.batch)
        outcome = plan.outcome(cell)
        if outcome is None:
          continue
        texts = [_text(arm, each) for each in cell.trials for _ in cell.seeds]
        yield {
          'condition': condition,
          'arm': arm,
          'trial': [made.index(text) for text in texts],
          'hyperparameters': texts,
          'seed': cell.seeds * len(cell.trials),
          **_measured(outcome),
        }


def _results(finals: Sequence[Final]) -> Iterator[dict[str, Any]]:
  """The results of each arm, without the times to the target."""
  for final in finals:
    found: dict[str, Any] = {
      **final.identity,
      'seed': final.seeds,
      'hyperparameters': '',
      'status': frames.MISSING,
    }
    if final.cell is not None:
      found['hyperparameters'] = _text(final.arm, final.cell.trials[0])
    if final.outcome is not None:
      found |= _measured(final.outcome)
      found['test_accuracy'] = final.outcome.test_accuracy
    yield found


def _measured(outcome: Outcome) -> dict[str, Any]:
  """The columns that trials and results share."""
  diverged = np.array(outcome.diverged)
  found = {'status': np.where(diverged, frames.DIVERGED, frames.FINISHED)}
  if curves := outcome.curves.get('validation_accuracy'):
    found['validation_accuracy'] = np.array([x[-1] for x in curves], float)
  return found


def _targets(
  conditions: Sequence[Condition], measured: pd.DataFrame
) -> dict[str, float]:
  """By condition, the accuracy to reach on what was held out.

  It is that of the tuned AdamW; of the default one where none is tuned.
  """
  found = {
    each.name: scores.target(
      measured[measured['condition'] == each.name], each.rulesets[-1]
    )
    for each in conditions
    if each.task.held_out
  }
  return {name: x for name, x in found.items() if not np.isnan(x)}


def _timed(
  results: pd.DataFrame,
  finals: Sequence[Final],
  targets: Mapping[str, float],
  speeds_: Speeds,
) -> pd.DataFrame:
  """The results with the times to the target; ∞ where it was missed."""
  steps, seconds = [], []
  for final in finals:
    nothing = found = np.full(len(final.seeds), np.nan)
    task, target = final.condition.task, targets.get(final.condition.name)
    measured = final.outcome and final.outcome.curves.get('validation_accuracy')
    if final.outcome and measured and target is not None:
      curves = np.array(measured, float)
      curves[np.array(final.outcome.diverged)] = np.nan
      epochs = np.arange(1, curves.shape[1] + 1)
      found = scores.time_to_target(curves, epochs, target)
      found = found * final.outcome.steps_per_epoch
    pace = speeds_.get(speeds.key(task), {}).get(final.arm)
    steps.append(found)
    seconds.append(nothing if pace is None else found * pace)
  return results.assign(
    steps_to_target=np.concatenate([*steps, []]),
    seconds_to_target=np.concatenate([*seconds, []]),
  )


def _comparisons(
  conditions: Sequence[Condition], counted: pd.DataFrame
) -> pd.DataFrame:
  """Compares the arms of each condition."""
  found = []
  for each in conditions:
    usual = comparisons.REFERENCES
    if each.task.stream:
      usual = comparisons.STREAM_REFERENCES
    own = counted[counted['condition'] == each.name]
    found.append(comparisons.compare(own, (*usual, *each.references)))
  return frames.make('comparisons', found)


def _curves(finals: Sequence[Final]) -> Iterator[dict[str, Any]]:
  """The validation accuracy of each arm, if anything was held out, by epoch.

  `mean` is that over the seeds, a fraction, with the 95 % t interval from
  `ci_low` to `ci_high`. An epoch at which a seed had diverged counts as chance.
  """
  for final in finals:
    outcome = final.outcome
    if outcome is None or 'validation_accuracy' not in outcome.curves:
      continue
    accuracies = np.array(outcome.curves['validation_accuracy'], float)
    losses = np.array(outcome.curves['train_loss'], float)
    accuracies[~np.isfinite(losses)] = final.condition.chance
    # Whatever a seed did before, its result is chance if it diverged.
    accuracies[np.array(outcome.diverged), -1] = final.condition.chance
    low, high = statistics.t_interval(accuracies)
    epochs = np.arange(1, accuracies.shape[1] + 1)
    yield {
      **final.identity,
      'epoch': epochs,
      'steps': epochs * outcome.steps_per_epoch,
      'n': len(accuracies),
      'mean': statistics.mean_difference(accuracies),
      'ci_low': low,
      'ci_high': high,
    }


def _alpha(finals: Sequence[Final]) -> Iterator[dict[str, Any]]:
  """α and its effect on each leaf at the last update of each epoch.

  Values are means over the seeds that stayed finite.
  """
  for final in finals:
    alpha = final.outcome and final.outcome.alpha
    if alpha:
      epochs, leaves = len(alpha[_OF_ALPHA[0]]), alpha['leaves']
      yield {
        **final.identity,
        'epoch': np.repeat(np.arange(1, epochs + 1), len(leaves)),
        'leaf': leaves * epochs,
        'elements': alpha['elements'] * epochs,
        **{x: np.array(alpha[x], float).ravel() for x in _OF_ALPHA},
      }


def _text(arm: str, trial: Trial) -> str:
  """All hyperparameters of an arm, as JSON."""
  return json.dumps(optimizers.ARMS[arm].values(trial))


def _tuned(tuner: Tuner) -> dict[str, Any]:
  """The result of the tuning under a condition so far."""
  below, above = tuner.extensions
  best = {arm: tuner.best(arm) for arm in tuner.arms}
  return {
    'rates_added_below': below,
    'rates_added_above': above,
    'numbers': {arm: x for arm, x in best.items() if x is not None},
  }
