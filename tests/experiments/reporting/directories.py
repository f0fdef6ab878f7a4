"""Study directories with known numbers, as a study would write them."""

import csv
import json
import math

import numpy as np

from experiments import data
from experiments import files
from experiments import optimizers
from experiments.studies import comparisons
from tests.experiments.reporting import streamed

RESULTS = (
  *('condition', 'ruleset', 'arm', 'seed', 'hyperparameters'),
  *('validation_accuracy', 'test_accuracy'),
  *('steps_to_target', 'seconds_to_target', 'status'),
)
TRIALS = (
  *('condition', 'arm', 'trial', 'hyperparameters', 'seed'),
  *('validation_accuracy', 'status'),
)
CURVES = (
  *('condition', 'ruleset', 'arm', 'epoch', 'steps', 'n'),
  *('mean', 'ci_low', 'ci_high'),
)
ALPHA = (
  *('condition', 'ruleset', 'arm', 'epoch', 'leaf', 'elements'),
  *('alpha_mean', 'alpha_std', 'alpha_fraction_near_min'),
  *('alpha_fraction_near_max', 'gradient_norm', 'update_norm'),
)
_LEAVES = {
  'hidden_0/kernel': 200704, 'hidden_0/bias': 256, 'hidden_1/kernel': 65536,
  'hidden_1/bias': 256, 'head/kernel': 2560, 'head/bias': 10,
}  # fmt: skip
_EPOCHS, _STEPS = 10, 42


def write(path, study, arms=None, *, diverged=(), missing=(), tables=None):
  """Writes the directory of a study that was never run.

  Args:
    path: the directory, which is made.
    study: the declaration.
    arms: its arms; None for all.
    diverged: the arms all of whose seeds diverged; a few trials always do.
    missing: the arms of which the last seeds are missing.
    tables: which tables are written besides `results.csv`; None for all.

  Returns:
    The rows of `results.csv`.
  """
  path.mkdir(parents=True)
  arms = tuple(study.all_arms if arms is None else arms)
  quality = {
    arm: _random(arm).normal(0, 0.008) - 0.05 * (arm in ('sgd', 'm_svag'))
    for arm in arms
  }
  rows = list(_results(study, arms, quality, diverged, missing))
  made = {
    'trials.csv': (TRIALS, _trials(study, arms, quality)),
    'comparisons.csv': (comparisons.COLUMNS, _comparisons(study, rows)),
    'curves.csv': (CURVES, _curves(study, rows)),
    'alpha.csv': (ALPHA, _alpha(study, rows)),
    **streamed.tables(study, rows),
  }
  files.write_table(path / 'results.csv', RESULTS, rows)
  for name, (columns, table) in made.items():
    if tables is None or name in tables:
      files.write_table(path / name, columns, table)
  files.write_json(path / 'study.json', _study(study, arms))
  return rows


def read(path):
  """The rows of a table."""
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def chance(condition):
  return 1 / data.spec(condition.task.dataset).num_classes


def _random(*names):
  return np.random.default_rng(list('/'.join(map(str, names)).encode()))


def _study(study, arms):
  tuning = study.tuning
  return {
    'program': 'neuroplastic_optax/experiments.study',
    'definition': {'study': study.name, 'smoke': False, **study.definition()},
    'arms': list(arms),
    'code': '0' * 64,
    'provenance': [
      {
        'command': ['python', '-m', 'experiments.study', study.name],
        'commit': 'fdd5ed685f30fe0cfe6e35a1f74a8147c6afaa5d',
        'versions': {'python': '3.11.7', 'jax': '0.10.2', 'optax': '0.2.8'},
        'hardware': {'devices': 1, 'device': 'cpu', 'cores': 2},
        'start': '2026-11-25T23:20:52+00:00',
        'end': None,
      }
    ],
    'cells': {'planned': 15, 'finished': 15},
    'tuning': {
      name: {
        'rates_added_below': 0,
        'rates_added_above': 2 * i,
        'numbers': {
          arm: {'learning_rate': 0.00821201, 'weight_decay': 0.000349129}
          for arm in tuning.arms
          if arm in arms
        },
      }
      for i, name in enumerate(tuning.tasks)
    }
    if tuning
    else {},
    'conditions': {
      each.name: {
        'chance': chance(each),
        'target': 0.87 if each.task.held_out else None,
      }
      for each in study.conditions
    },
    'end': '2026-11-26T05:22:23+00:00',
  }


def _results(study, arms, quality, diverged, missing):
  for condition in study.conditions:
    task = condition.task
    base = 0.87 + 0.02 * math.log10(task.fraction) - 0.2 * task.label_noise
    for ruleset in condition.rulesets:
      for arm in condition.arms or study.arms:
        if arm not in arms:
          continue
        seeds = study.seed_list(condition, ruleset, arm)
        for seed in seeds:
          yield {
            'condition': condition.name,
            'ruleset': ruleset,
            'arm': arm,
            'seed': seed,
            'hyperparameters': '{}',
            **_result(condition, ruleset, arm, seed, base + quality[arm]),
            **({'status': 'diverged'} if arm in diverged else {}),
            **(
              dict.fromkeys(RESULTS[4:9], '') | {'status': 'missing'}
              if arm in missing and seed >= len(seeds) // 2
              else {}
            ),
          }


def _result(condition, ruleset, arm, seed, base):
  noise = _random(condition.name, ruleset, arm, seed).normal(0, 0.003)
  shared = _random(condition.name, seed).normal(0, 0.003)
  accuracy = base + noise + shared + 0.004 * (ruleset == 'tuned')
  steps = round(_STEPS * (5 - 100 * (accuracy - base)))
  target = condition.task.held_out
  return {
    'validation_accuracy': accuracy if target else '',
    'test_accuracy': accuracy - 0.005,
    'steps_to_target': steps if target else '',
    'seconds_to_target': steps / (40 + len(arm)) if target else '',
    'status': 'finished',
  }


def _comparisons(study, rows):
  for condition in study.conditions:
    own = [row for row in rows if row['condition'] == condition.name]
    for row in comparisons.rows(own, chance(condition)):
      yield {name: '' if x != x else x for name, x in row.items()}


def _ends(study, rows):
  """By condition, ruleset and arm, the mean at the end, where there is one."""
  for condition in study.conditions:
    found = {}
    for row in rows:
      if row['condition'] == condition.name and row['status'] != 'missing':
        group = found.setdefault((row['ruleset'], row['arm']), [])
        group.append((row['status'], row['test_accuracy']))
    for (ruleset, arm), values in found.items():
      yield condition, ruleset, arm, values


def _curves(study, rows):
  for condition, ruleset, arm, values in _ends(study, rows):
    if not condition.task.held_out:
      continue
    lost = values[0][0] == 'diverged'
    for epoch in range(1, _EPOCHS + 1):
      mean = np.mean([x for _, x in values]) - 0.08 * math.exp(-epoch / 2)
      mean = chance(condition) if lost else mean
      yield {
        'condition': condition.name,
        'ruleset': ruleset,
        'arm': arm,
        'epoch': epoch,
        'steps': _STEPS * epoch,
        'n': len(values),
        'mean': mean,
        'ci_low': mean - 0.002,
        'ci_high': mean + 0.002,
      }


def _alpha(study, rows):
  for condition, ruleset, arm, _ in _ends(study, rows):
    if 'plasticity_scale' not in optimizers.ARMS[arm].hyperparameters:
      continue
    for epoch in range(1, _EPOCHS + 1):
      for leaf, elements in _LEAVES.items():
        share = _random(arm, leaf).uniform(0.1, 0.4)
        yield {
          'condition': condition.name,
          'ruleset': ruleset,
          'arm': arm,
          'epoch': epoch,
          'leaf': leaf,
          'elements': elements,
          'alpha_mean': 0.7 + share + 0.2 * math.exp(-epoch / 3),
          'alpha_std': 0.5,
          'alpha_fraction_near_min': share * (1 + 0.02 * epoch),
          'alpha_fraction_near_max': share / 3,
          'gradient_norm': 1.0,
          'update_norm': 0.5,
        }


def _trials(study, arms, quality):
  if study.tuning is None:
    return
  budget = study.tuning.budget
  for i, name in enumerate(study.tuning.tasks):
    grid = budget.rates + 2 * i
    for arm in (arm for arm in study.tuning.arms if arm in arms):
      knob = optimizers.ARMS[arm].hyperparameters['learning_rate']
      step = (knob.high / knob.low) ** (1 / (budget.rates - 1))
      for trial in range(budget.trials):
        random = _random(name, arm, trial)
        rate = (
          knob.low * step**trial
          if trial < grid
          else random.uniform(knob.low, knob.high)
        )
        away = math.log10(rate / math.sqrt(knob.low * knob.high))
        lost = trial == grid - 1 and random.uniform() < 0.5
        yield {
          'condition': name,
          'arm': arm,
          'trial': trial,
          'hyperparameters': json.dumps({'learning_rate': rate}),
          'seed': 1_000_000,
          'validation_accuracy': max(
            0.86 + quality[arm] - 0.03 * away**2 + random.normal(0, 0.003), 0.1
          ),
          'status': 'diverged' if lost else 'finished',
        }
