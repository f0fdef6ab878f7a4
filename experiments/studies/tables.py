"""The tables of a study; `results.csv` and `trials.csv` are made here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from experiments import files
from experiments import optimizers
from experiments.studies import comparisons
from experiments.studies import learned
from experiments.studies import results
from experiments.studies import series
from experiments.studies import speeds
from experiments.studies import targets
from experiments.studies.cells import Outcome
from experiments.studies.plan import Final
from experiments.studies.plan import Plan
from experiments.studies.speeds import Speeds
from experiments.studies.tuner import Numbers
from experiments.studies.tuner import Tuner

TRIALS, RESULTS, COMPARISONS = 'trials.csv', 'results.csv', 'comparisons.csv'
CURVES, ALPHA = 'curves.csv', 'alpha.csv'
TRIAL_COLUMNS = (
  *('condition', 'arm', 'trial', 'hyperparameters', 'seed'),
  *('validation_accuracy', 'status'),
)
RESULT_COLUMNS = (
  *('condition', 'ruleset', 'arm', 'seed', 'hyperparameters'),
  *('validation_accuracy', 'test_accuracy'),
  *('steps_to_target', 'seconds_to_target', 'status'),
)
# Besides those of `results`.
MISSING = 'missing'


def write(workdir: Path, plan: Plan, speeds_: Speeds | None = None) -> None:
  """Writes all tables, as far as results are there.

  Args:
    workdir: the study directory.
    plan: the plan.
    speeds_: what was measured by `speeds.measure`; without it, times are those
      that the cells themselves took.
  """
  found = list(result_rows(plan, speeds_))
  tables: list[tuple[str, Sequence[str], Iterable[Mapping[str, Any]]]] = [
    (TRIALS, TRIAL_COLUMNS, trial_rows(plan)),
    (RESULTS, RESULT_COLUMNS, found),
    (COMPARISONS, comparisons.COLUMNS, comparison_rows(plan, found)),
    (CURVES, series.CURVE_COLUMNS, series.curve_rows(plan)),
    (ALPHA, series.ALPHA_COLUMNS, series.alpha_rows(plan)),
  ]
  if any(each.task.stream for each in plan.study.conditions):
    tables += learned.tables(plan)
  for name, columns, rows in tables:
    files.write_table(workdir / name, columns, rows)


def trial_rows(plan: Plan) -> Iterator[dict[str, Any]]:
  """A row for every trial of the tuner and seed that is trained.

  Trials are numbered in the order in which they were made, those of an arm
  under a condition from 0; the best have more rows, of their other seeds.
  """
  for condition, tuner in plan.tuners().items():
    assert plan.study.tuning is not None
    task = plan.study.tuning.tasks[condition]
    for arm in tuner.arms:
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


def result_rows(
  plan: Plan, speeds_: Speeds | None = None
) -> Iterator[dict[str, Any]]:
  """A row for every arm, condition, ruleset and seed of the study.

  Where there is no result yet, the status is `missing`. A target that was
  missed is `inf`; times are empty where nothing was held out to measure them.
  """
  finals = list(plan.finals())
  rows = [list(_untimed(final, plan)) for final in finals]
  found = _targets(plan, [row for each in rows for row in each])
  for final, each in zip(finals, rows, strict=True):
    outcome = plan.outcome(final.cell)
    target = found.get(final.condition.name)
    for i, row in enumerate(each):
      if outcome is not None and target is not None:
        kind = speeds.key(final.condition.task)
        pace = (speeds_ or {}).get(kind, {}).get(final.arm)
        row |= _times(outcome, i, target, pace)
      yield row


def comparison_rows(
  plan: Plan, rows: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
  """Compares the arms of each condition; a cell without a value is empty.

  Args:
    plan: the plan.
    rows: those of `results.csv`.
  """
  for condition in plan.study.conditions:
    own = [row for row in rows if row['condition'] == condition.name]
    references = comparisons.REFERENCES
    if condition.task.stream:
      references = comparisons.STREAM_REFERENCES
    references += condition.references
    for row in comparisons.rows(own, condition.chance, references):
      yield {name: None if x != x else x for name, x in row.items()}


def _untimed(final: Final, plan: Plan) -> Iterator[dict[str, Any]]:
  """The rows of a result, without the times to the target."""
  outcome = plan.outcome(final.cell)
  for i, seed in enumerate(final.seeds):
    row: dict[str, Any] = {
      **final.identity,
      'seed': seed,
      'hyperparameters': final.cell and _text(final.arm, final.cell.trials[0]),
      'status': MISSING,
    }
    if outcome is not None:
      row |= _measured(outcome, i)
      assert outcome.test_accuracy is not None
      row['test_accuracy'] = outcome.test_accuracy[i]
    yield row


def _measured(outcome: Outcome, i: int) -> dict[str, Any]:
  """The columns that trials and results share."""
  curves = outcome.curves.get('validation_accuracy')
  diverged = outcome.diverged[i]
  return {
    'validation_accuracy': curves[i][-1] if curves else None,
    'status': results.DIVERGED if diverged else results.FINISHED,
  }


def _times(
  outcome: Outcome, i: int, target: float, pace: float | None
) -> dict[str, Any]:
  """When a run first reached the target at the end of an epoch.

  Args:
    outcome: that of its cell.
    i: which of the cell's runs.
    target: the accuracy.
    pace: the seconds of an update; None where they were not measured, so that
      nothing is known of seconds.
  """
  curve = np.array(outcome.curves['validation_accuracy'][i], float)
  if outcome.diverged[i]:
    curve = np.full_like(curve, np.nan)
  epochs = np.arange(1, len(curve) + 1)
  (epoch,) = targets.time_to_target([curve], epochs, target)
  steps = epoch * outcome.steps_per_epoch
  return {
    'steps_to_target': int(steps) if np.isfinite(steps) else math.inf,
    'seconds_to_target': None if pace is None else float(steps) * pace,
  }


def _targets(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, float]:
  """By condition, the target on what was held out; of AdamW.

  It is that of the tuned AdamW; of the default one where none is tuned.
  """
  found = {
    condition.name: targets.target_accuracy(
      [row for row in rows if row['condition'] == condition.name],
      condition.name,
      condition.chance,
      ruleset=condition.rulesets[-1],
      column='validation_accuracy',
    )
    for condition in plan.study.conditions
    if condition.task.held_out
  }
  return {name: target for name, target in found.items() if target == target}


def _numbered(arm: str, tuner: Tuner) -> dict[str, int]:
  """The number of each trial, by its text."""
  texts = [_text(arm, each) for each in tuner.trials(arm)]
  return {text: texts.index(text) for text in texts}


def _text(arm: str, numbers: Numbers) -> str:
  """All numbers of an arm, as JSON."""
  return json.dumps(optimizers.ARMS[arm].numbers(numbers))


def conditions(plan: Plan) -> dict[str, Any]:
  """What `study.json` says of each condition, as far as it is known."""
  rows = [row for final in plan.finals() for row in _untimed(final, plan)]
  found = _targets(plan, rows)
  return {
    each.name: {'chance': each.chance, 'target': found.get(each.name)}
    for each in plan.study.conditions
  }


def tuned(plan: Plan) -> dict[str, Any]:
  """What `study.json` says of the tuning so far."""
  tuning: dict[str, Any] = {}
  for name, tuner in plan.tuners().items():
    below, above = tuner.extensions
    tuning[name] = {
      'rates_added_below': below,
      'rates_added_above': above,
      'numbers': {
        arm: best for arm in tuner.arms if (best := tuner.best(arm)) is not None
      },
    }
  return tuning
