"""The tables of a study: `trials.csv` and `results.csv`."""

from collections.abc import Iterator
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from experiments import data
from experiments import optimizers
from experiments.studies.cells import Outcome
from experiments.studies.plan import Final
from experiments.studies.plan import Plan
from experiments.studies.tuner import Numbers
from experiments.studies.tuner import Tuner
from experiments.training import files

TRIALS, RESULTS = 'trials.csv', 'results.csv'
TRIAL_COLUMNS = (
  *('condition', 'arm', 'trial', 'hyperparameters', 'seed'),
  *('validation_accuracy', 'status'),
)
RESULT_COLUMNS = (
  *('condition', 'ruleset', 'arm', 'seed', 'hyperparameters'),
  *('validation_accuracy', 'test_accuracy'),
  *('steps_to_target', 'seconds_to_target', 'status'),
)
FINISHED, DIVERGED, MISSING = 'finished', 'diverged', 'missing'
# Whose median is the target.
TARGET_ARM = 'adamw'


def write(workdir: Path, plan: Plan) -> None:
  """Writes both tables, as far as results are there."""
  files.write_table(workdir / TRIALS, TRIAL_COLUMNS, trial_rows(plan))
  files.write_table(workdir / RESULTS, RESULT_COLUMNS, result_rows(plan))


def trial_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every trial of the tuner and seed that is trained.

  Trials are numbered in the order in which they were made, those of an arm
  under a condition from 0; the best have more rows, of their other seeds.
  """
  for condition, tuner in plan.tuners().items():
    assert plan.study.tuning is not None
    task = plan.study.tuning.tasks[condition]
    for arm in plan.tuned_arms:
      numbered = _numbered(arm, tuner)
      for stage in tuner.stages(arm):
        if stage.batch is None:
          continue
        cell = plan.tuning_cell(task, arm, stage.batch)
        outcome = plan.outcome(cell)
        if outcome is None:
          continue
        place = 0
        for numbers in cell.trials:
          for seed in cell.seeds:
            yield {
              'condition': condition,
              'arm': arm,
              'trial': numbered[_text(arm, numbers)],
              'hyperparameters': _text(arm, numbers),
              'seed': seed,
              **_measured(outcome, place),
            }
            place += 1


def result_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every arm, condition, ruleset and seed of the study.

  Where there is no result yet, the status is `missing`. A target that was
  missed is `inf`; times are empty where nothing was held out to measure them.
  """
  finals = list(plan.finals())
  targets = _targets(plan, finals)
  for final in finals:
    outcome = plan.outcome(final.cell)
    target = targets.get(final.condition.name)
    for i, seed in enumerate(final.seeds):
      row = {
        'condition': final.condition.name,
        'ruleset': final.ruleset,
        'arm': final.arm,
        'seed': seed,
        'hyperparameters': final.cell
        and _text(final.arm, final.cell.trials[0]),
        'status': MISSING,
      }
      if outcome is not None:
        row |= _measured(outcome, i)
        assert outcome.test_accuracy is not None
        row['test_accuracy'] = outcome.test_accuracy[i]
        row |= _times(outcome, i, target)
      yield row


def _measured(outcome: Outcome, i: int) -> dict[str, Any]:
  """The columns that trials and results share."""
  curves = outcome.curves.get('validation_accuracy')
  return {
    'validation_accuracy': curves[i][-1] if curves else None,
    'status': DIVERGED if outcome.diverged[i] else FINISHED,
  }


def _times(outcome: Outcome, i: int, target: float | None) -> dict[str, Any]:
  """When a run first reached the target at the end of an epoch."""
  curves = outcome.curves.get('validation_accuracy')
  if curves is None or target is None:
    return {}
  reached = np.array(curves[i], float) >= target
  if outcome.diverged[i] or not reached.any():
    return {'steps_to_target': math.inf, 'seconds_to_target': math.inf}
  epoch = int(np.argmax(reached))
  return {
    'steps_to_target': (epoch + 1) * outcome.steps_per_epoch,
    'seconds_to_target': sum(outcome.epoch_seconds[: epoch + 1]),
  }


def _targets(plan: Plan, finals: list[Final]) -> dict[str, float]:
  """By condition, the median of the last validation accuracies of AdamW.

  It is that of the tuned AdamW; of the default one where none is tuned. Runs
  that diverged count as chance.
  """
  targets: dict[str, float] = {}
  for final in finals:
    wanted = final.condition.rulesets[-1]
    outcome = plan.outcome(final.cell)
    if (final.arm, final.ruleset) != (TARGET_ARM, wanted) or outcome is None:
      continue
    if curves := outcome.curves.get('validation_accuracy'):
      chance = 1 / data.spec(final.condition.task.dataset).num_classes
      last = np.array([each[-1] for each in curves], float)
      last = np.where(outcome.diverged, chance, last)
      targets[final.condition.name] = float(np.median(last))
  return targets


def _numbered(arm: str, tuner: Tuner) -> dict[str, int]:
  """The number of each trial, by its text."""
  texts = [_text(arm, each) for each in tuner.trials(arm)]
  return {text: texts.index(text) for text in texts}


def _text(arm: str, numbers: Numbers) -> str:
  """All numbers of an arm, as JSON."""
  return json.dumps(optimizers.ARMS[arm].numbers(numbers))


def tuned(plan: Plan) -> dict[str, Any]:
  """What `study.json` says of the tuning so far."""
  tuning: dict[str, Any] = {}
  for name, tuner in plan.tuners().items():
    below, above = tuner.extensions
    tuning[name] = {
      'rates_added_below': below,
      'rates_added_above': above,
      'numbers': {
        arm: best
        for arm in plan.tuned_arms
        if (best := tuner.best(arm)) is not None
      },
    }
  return tuning
