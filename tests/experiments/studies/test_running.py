"""Studies are computed cell by cell, in any order and by any process."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from experiments import errors
from experiments import optimizers
from experiments.optimizers import arm as arms
from experiments.studies import frames
from experiments.studies import running
from experiments.studies import speeds
from experiments.studies import stable
from experiments.studies import tables
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.declarations import Condition
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import STABLE
from experiments.studies.plan import Plan
from experiments.studies.plan import Share
from experiments.studies.speeds import Estimate

pytestmark = pytest.mark.usefixtures('computed')
ARMS = ('gradient_only', 'adamw')  # The first has an α.


def make_plan(study, folder):
  return Plan(study, study.all_arms, Store(folder))


def run(study, folder, share=None, say=lambda text: None):
  """Computes a share of a study; gives the plan."""
  plan = make_plan(study, folder)
  load = lambda name: workers.load(name, None)
  share, estimate = share or Share(plan.arms), Estimate(load, 1)
  running.Runner(plan, share, estimate, say).run(1)
  return plan


def test_tables_have_a_row_for_every_seed(make_study, tmp_path):
  study = make_study(arms=ARMS)
  made = tables.make(run(study, tmp_path)).frames
  results = made['results']
  assert len(results) == 2 * 2 * 2
  assert {*results['ruleset']} == {'default', 'tuned'}
  assert (results['status'] == 'finished').all()
  (default, *_) = results.itertuples()
  numbers = json.loads(default.hyperparameters)
  assert numbers == optimizers.ARMS[default.arm].values({})
  trials = made['trials']
  for _, own in trials.groupby('arm'):
    assert {*own['trial']} == set(range(5))
    assert len(own) == 5 + 2 * 2
  assert trials['seed'].min() == 1_000_000


def test_comparisons_and_targets_are_those_of_the_results(make_study, tmp_path):
  made = tables.make(run(make_study(arms=ARMS), tmp_path))
  results, compared = made.frames['results'], made.frames['comparisons']
  accuracy = results.pivot(
    index=['ruleset', 'seed'], columns='arm', values='test_accuracy'
  )
  pairs = [*zip(compared['arm'], compared['reference'], strict=True)]
  assert set(pairs) == {('gradient_only', 'adamw'), ('adamw', 'gradient_only')}
  for row in compared.itertuples():
    own = accuracy.loc[row.ruleset]
    assert row.n == 2
    difference = (own[row.arm] - own[row.reference]).mean()
    assert row.mean_difference == pytest.approx(difference)
  known = made.conditions['here']
  assert known['chance'] == pytest.approx(1 / 3)
  tuned = results.query('arm == "adamw" and ruleset == "tuned"')
  assert known['target'] == tuned['validation_accuracy'].median()


def test_on_streams_arms_are_compared_with_sgd_too(make_study, tmp_path):
  study = make_study()
  stream = on_stream('permuted_labels', study.conditions[0].task.dataset)
  here = Condition('here', dataclasses.replace(stream, tasks=2), ('default',))
  study = dataclasses.replace(study, conditions=(here,), tuning=None)
  made = tables.make(run(study, tmp_path)).frames
  found = made['comparisons'][['arm', 'reference']]
  assert found.to_numpy().tolist() == [['sgd', 'adamw'], ['adamw', 'sgd']]
  # Made-up outcomes measure nothing else of a stream.
  assert made['streams'].empty


def test_times_are_steps_and_the_seconds_of_updates(make_study, tmp_path):
  study = make_study()
  plan = run(study, tmp_path)
  results = tables.make(plan).frames['results']
  (target,) = (x['target'] for x in tables.make(plan).conditions.values())
  # Of two epochs of two updates, all reach it at the end or never.
  reached = results['validation_accuracy'] >= target
  expected = np.where(reached, 4, np.inf)
  np.testing.assert_array_equal(results['steps_to_target'], expected)
  # What cells took says nothing of the arms.
  assert results['seconds_to_target'].isna().all()
  pace = {'sgd': 2.0, 'adamw': 3.0}
  kind = speeds.key(study.conditions[0].task)
  results = tables.make(plan, {kind: pace}).frames['results']
  expected = results['steps_to_target'] * results['arm'].map(pace)
  np.testing.assert_array_equal(results['seconds_to_target'], expected)


def test_curves_and_alpha_have_a_row_for_every_epoch(make_study, tmp_path):
  made = tables.make(run(make_study(arms=ARMS), tmp_path)).frames
  curves, results = made['curves'], made['results']
  assert len(curves) == 2 * 2 * 2
  assert (curves['steps'] == 2 * curves['epoch']).all()
  assert (curves['n'] == 2).all()
  last = curves[curves['epoch'] == 2].set_index(['ruleset', 'arm'])['mean']
  means = results.groupby(['ruleset', 'arm'])['validation_accuracy'].mean()
  pd.testing.assert_series_equal(last.sort_index(), means, check_names=False)
  alpha = made['alpha']
  assert {*alpha['arm']} == {'gradient_only'}
  assert len(alpha) == 2 * 2 * 2
  assert alpha['leaf'].to_list() == ['kernel', 'bias'] * 4
  assert alpha['epoch'].to_list() == [1, 1, 2, 2] * 2
  assert alpha['alpha_mean'].dropna().to_list() == [0.1, 1.1] * 2


def test_nothing_is_computed_twice(make_study, tmp_path, computed):
  lines = []
  run(make_study(), tmp_path, say=lines.append)
  digests = [cell.digest for cell in computed]
  assert len(digests) == len(set(digests))
  # Only what is reported reads the test set.
  assert all(cell.tests == (cell.seeds[0] < 1_000_000) for cell in computed)
  total = len(digests)
  assert re.fullmatch(r'1/\d+ tuning, rates, sgd, about .* left', lines[0])
  assert lines[-1] == f'{total}/{total} here, tuned, adamw'
  run(make_study(), tmp_path, say=pytest.fail)
  assert len(computed) == total


def test_shards_together_make_the_whole(make_study, tmp_path, computed):
  study = make_study()
  whole = tables.make(run(study, tmp_path / 'whole')).frames
  count = len(computed)
  first, second = (
    run(study, tmp_path / 'shared', Share(study.arms, i, 2)) for i in (1, 2)
  )
  assert len({cell.digest for cell in computed}) == count
  assert len(computed) == 2 * count
  assert any(first.outcome(x.cell) for x in first.items())
  for name, table in tables.make(second).frames.items():
    pd.testing.assert_frame_equal(table, whole[name])


def test_stable_hyperparameters_are_those_of_the_table(make_study, tmp_path):
  study = make_study()
  ((name, task),) = study.tuning.tasks.items()
  tasks = {name: task, 'half': dataclasses.replace(task, fraction=0.5)}
  elsewhere = dataclasses.replace(
    study.conditions[0],
    name='elsewhere',
    task=dataclasses.replace(task, label_noise=0.2),
    rulesets=(STABLE,),
    tuned_on=None,
  )
  study = dataclasses.replace(
    study,
    conditions=(elsewhere,),
    tuning=dataclasses.replace(study.tuning, tasks=tasks),
  )
  # Nothing is known before both are tuned, by one arm or all.
  assert all(x.cell is None for x in make_plan(study, tmp_path).finals())
  made = tables.make(run(study, tmp_path)).frames
  kept = stable.keep(made['trials']).set_index('arm')['hyperparameters']
  assert {*made['results']['arm']} == {*study.arms}
  for row in made['results'].itertuples():
    assert (row.ruleset, row.status) == (STABLE, 'finished')
    assert json.loads(row.hyperparameters) == json.loads(kept[row.arm])


def test_incomplete_study_says_what_is_missing(make_study, tmp_path):
  tables.make(make_plan(make_study(), tmp_path)).write(tmp_path)
  results = frames.read(tmp_path, 'results')
  assert {*results['status']} == {'missing'}
  assert len(results) == 8
  assert results['test_accuracy'].isna().all()
  assert frames.read(tmp_path, 'trials').empty
  assert (frames.read(tmp_path, 'comparisons')['n'] == 0).all()


def test_arm_that_diverges_or_fails_does_not_spoil_the_rest(
  make_study, tmp_path, monkeypatch
):
  rates = {'learning_rate': arms.Range(0.1, 0.01, 1)}
  for name in ('far', 'fails'):
    made = arms.Arm(name, 'none', '', rates, lambda *_: None)
    monkeypatch.setitem(optimizers.ARMS, name, made)
  study = make_study(arms=('far', 'fails', 'sgd'))
  # A grid that cannot be computed would keep the ranges of all from being set.
  tuning = dataclasses.replace(study.tuning, arms=('far', 'sgd'))
  here = study.conditions[0]
  conditions = (
    dataclasses.replace(here, arms=('far', 'sgd')),
    dataclasses.replace(here, name='there', rulesets=('default',)),
  )
  study = dataclasses.replace(study, tuning=tuning, conditions=conditions)
  with pytest.raises(errors.UserError, match='1 cell could not'):
    run(study, tmp_path)
  made = tables.make(make_plan(study, tmp_path)).frames
  results = made['results'][['arm', 'status']].itertuples(index=False)
  assert {*map(tuple, results)} == {
    ('far', 'diverged'),
    ('sgd', 'finished'),
    ('fails', 'missing'),
  }
  curves = made['curves'].query('arm == "far" and epoch == 2')
  np.testing.assert_allclose(curves['mean'], 1 / 3)
