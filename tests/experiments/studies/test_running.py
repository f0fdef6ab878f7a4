"""Studies are computed cell by cell, in any order and by any process."""

import csv
import dataclasses
import json

import optax
import pytest

from experiments import data
from experiments import errors
from experiments import optimizers
from experiments.data import dataset as datasets
from experiments.optimizers import arm as arms
from experiments.studies import running
from experiments.studies import stable
from experiments.studies import tables
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.declarations import STABLE
from experiments.studies.estimates import Estimate
from experiments.studies.plan import Plan
from experiments.studies.plan import Share

pytestmark = pytest.mark.usefixtures('one_device')


class Notes(running.Observer):
  """Writes down what was computed."""

  def __init__(self):
    self.computed_items, self.failures = [], []

  def computed(self, item, progress):
    del progress
    self.computed_items.append(item)

  def failed(self, item, error):
    self.failures.append((item, error))


def make_plan(study, folder):
  return Plan(study, study.all_arms, Store(folder / 'cells'))


def run(study, folder, share=None):
  """Computes a share; gives the plan and the notes."""
  folder.mkdir(exist_ok=True)
  plan = make_plan(study, folder)
  notes = Notes()
  load = lambda name: workers.load(name, None)
  share = share or Share(plan.arms)
  running.Runner(
    plan,
    share,
    Estimate(load, 1),
    notes,
    write_tables=lambda: tables.make(plan).write(folder),
  ).run(1)
  return plan, notes


def read(folder, name):
  """The rows of a table, without what a clock says."""
  rows = csv.DictReader((folder / name).read_text().splitlines())
  return [
    {key: value for key, value in row.items() if key != 'seconds_to_target'}
    for row in rows
  ]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A place for the study that others are compared with."""
  return tmp_path_factory.mktemp('whole')


@pytest.fixture
def study(make_study):
  """That study: of an arm that has an α, and one that has none."""
  return make_study(arms=('gradient_only', 'adamw'))


def test_an_epoch_of_one_update_is_measured(make_study, tmp_path):
  (item, *_) = make_plan(make_study(), tmp_path).items()
  task = dataclasses.replace(item.task, batch_size=4096)
  estimate = Estimate(lambda name: workers.load(name, None), 1)
  estimate.measure(task)
  assert estimate.seconds([item._replace(task=task)]) > 0


def test_tables_have_a_row_for_every_seed(study, whole):
  _, notes = run(study, whole)
  digests = [item.cell.digest for item in notes.computed_items]
  assert len(digests) == len(set(digests))

  rows = read(whole, 'results.csv')
  assert len(rows) == 2 * 2 * 2
  assert {row['ruleset'] for row in rows} == {'default', 'tuned'}
  assert all(row['status'] == 'finished' for row in rows)
  assert all(0 <= float(row['test_accuracy']) <= 1 for row in rows)
  default = json.loads(rows[0]['hyperparameters'])
  assert default == optimizers.ARMS[rows[0]['arm']].numbers({})

  trials = read(whole, 'trials.csv')
  for arm in study.arms:
    own = [row for row in trials if row['arm'] == arm]
    assert {int(row['trial']) for row in own} == set(range(5))
    assert len(own) == 5 + 2 * 2
  assert min(int(row['seed']) for row in trials) == 1_000_000


def test_comparisons_are_those_of_the_results(study, whole):
  plan, _ = run(study, whole)
  rows = read(whole, 'results.csv')
  accuracies = {
    (row['arm'], row['ruleset'], row['seed']): float(row['test_accuracy'])
    for row in rows
  }
  pairs = set()
  for row in read(whole, 'comparisons.csv'):
    assert row['n'] == '2'
    pairs.add((row['arm'], row['reference']))
    differences = [
      accuracies[row['arm'], row['ruleset'], seed]
      - accuracies[row['reference'], row['ruleset'], seed]
      for seed in ('0', '1')
    ]
    found = float(row['mean_difference'])
    assert found == pytest.approx(sum(differences) / 2, abs=1e-7)
  assert pairs == {('gradient_only', 'adamw'), ('adamw', 'gradient_only')}
  found = tables.make(plan).conditions
  assert found['here']['chance'] == pytest.approx(1 / 3)
  tuned = [
    float(row['validation_accuracy'])
    for row in rows
    if (row['arm'], row['ruleset']) == ('adamw', 'tuned')
  ]
  assert found['here']['target'] == pytest.approx(sum(tuned) / 2)


def test_curves_end_where_the_results_are(study, whole):
  run(study, whole)
  rows = read(whole, 'results.csv')
  curves = read(whole, 'curves.csv')
  assert len(curves) == 2 * 2 * 2
  for curve in curves:
    assert curve['steps'] == str(2 * int(curve['epoch']))
    own = [
      float(row['validation_accuracy'])
      for row in rows
      if all(row[x] == curve[x] for x in ('arm', 'ruleset'))
    ]
    assert curve['n'] == str(len(own))
    if curve['epoch'] == '2':
      assert float(curve['mean']) == pytest.approx(sum(own) / 2, rel=1e-5)


def test_alpha_has_a_row_for_every_leaf(study, whole):
  run(study, whole)
  rows = read(whole, 'alpha.csv')
  assert {row['arm'] for row in rows} == {'gradient_only'}
  assert len(rows) == 2 * 2 * 6
  assert all(0.5 <= float(row['alpha_mean']) <= 1.5 for row in rows)


def test_nothing_is_computed_twice(study, whole):
  run(study, whole)
  _, again = run(study, whole)
  assert again.computed_items == []


@pytest.mark.slow
def test_shards_together_make_the_whole(study, whole, tmp_path):
  run(study, whole)
  first, second = (
    run(study, tmp_path, Share(study.arms, i, 2))[1].computed_items
    for i in (1, 2)
  )
  assert first
  assert second
  digests = [item.cell.digest for item in (*first, *second)]
  assert len(digests) == len(set(digests))
  for name in ('results.csv', 'trials.csv'):
    assert read(tmp_path, name) == read(whole, name)


def test_stable_numbers_are_those_of_the_table(make_study, tmp_path):
  study = make_study()
  tuning = study.tuning
  ((name, task),) = tuning.tasks.items()
  tasks_ = {name: task, 'half': dataclasses.replace(task, fraction=0.5)}
  condition = study.conditions[0]
  elsewhere = dataclasses.replace(
    condition,
    name='elsewhere',
    task=dataclasses.replace(condition.task, label_noise=0.2),
    rulesets=(STABLE,),
    tuned_on=None,
  )
  study = dataclasses.replace(
    study,
    conditions=(elsewhere,),
    tuning=dataclasses.replace(tuning, tasks=tasks_),
  )
  plan = make_plan(study, tmp_path)
  # Nothing is known before both are tuned, by one arm or all.
  assert all(final.cell is None for final in plan.finals())
  plan, _ = run(study, tmp_path)
  made = tables.make(plan).frames
  kept = stable.keep(made['trials']).set_index('arm')['hyperparameters']
  assert {*made['results']['arm']} == set(study.arms)
  for row in made['results'].itertuples():
    assert row.ruleset == STABLE
    assert row.status == 'finished'
    assert json.loads(row.hyperparameters) == json.loads(kept[row.arm])
  # No arm here has an α.
  assert read(tmp_path, 'alpha.csv') == []


def test_an_incomplete_study_says_what_is_missing(make_study, tmp_path):
  study = make_study()
  plan = make_plan(study, tmp_path)
  tables.make(plan).write(tmp_path)
  rows = read(tmp_path, 'results.csv')
  assert {row['status'] for row in rows} == {'missing'}
  assert len(rows) == 8
  assert read(tmp_path, 'trials.csv') == []


class _Unreadable(data.Dataset):
  """A data set whose test part must not be looked at."""

  @property
  def test_images(self):
    raise AssertionError('a test image is read')

  test_labels = test_images


def test_tuning_reads_no_test_image(make_study, tmp_path, monkeypatch):
  def load(*_):
    real = data.load('synthetic:4x4x1:3:20:10')
    unreadable = object.__new__(_Unreadable)
    for name in ('spec', 'train_images', 'train_labels'):
      object.__setattr__(unreadable, name, getattr(real, name))
    return unreadable

  source = datasets.Source(lambda _: load().spec, load)
  monkeypatch.setitem(datasets.SOURCES, 'unreadable', source)
  study = make_study('unreadable', arms=('sgd',))
  with pytest.raises(errors.UserError, match='2 cells could not be computed'):
    run(study, tmp_path)
  # All of the tuning is there; only what is reported reads the test set.
  plan = make_plan(study, tmp_path)
  missing = [x for x in plan.items() if plan.outcome(x.cell) is None]
  assert [item.what for item in missing] == ['default', 'tuned']
  assert all(item.cell.tests for item in missing)
  assert not any(item.cell.tests for item in plan.items() if item.shared)


@pytest.mark.slow
def test_an_arm_that_diverges_or_fails_does_not_spoil_the_rest(
  make_study, tmp_path, monkeypatch
):
  def far(numbers, setting):
    return optax.sgd(numbers['learning_rate'])

  def fails(numbers, setting):
    raise RuntimeError('this arm is broken')

  rates = {'learning_rate': arms.Knob(1e35, 1e34, 1e36)}
  for build in (far, fails):
    made = arms.Arm(build.__name__, '', 'none', rates, build)
    monkeypatch.setitem(optimizers.ARMS, made.name, made)
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
  found = {(x['arm'], x['status']) for x in read(tmp_path, 'results.csv')}
  assert found == {
    ('far', 'diverged'),
    ('sgd', 'finished'),
    ('fails', 'missing'),
  }
