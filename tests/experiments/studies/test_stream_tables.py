"""What a study keeps of streams, and the tables that it makes of it."""

import dataclasses

import numpy as np
import pytest

from experiments import data
from experiments.studies import computing
from experiments.studies import tables
from experiments.studies.cells import Cell
from experiments.studies.cells import Store
from experiments.studies.declarations import Condition
from experiments.studies.declarations import DEFAULT
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import Study
from experiments.studies.plan import Plan

pytestmark = pytest.mark.slow

DATASET = 'synthetic:4x4x1:4:40:20'
TASK = dataclasses.replace(
  on_stream('split', DATASET),
  model='mlp_small',
  tasks=2,
  updates=12,
  batch_size=8,
  quick=True,
)


def computed(folder, conditions, arms):
  """A plan all of whose cells are computed, and its tables."""
  plan = Plan(Study('tiny', ('sgd',), conditions, seeds=2), arms, Store(folder))
  for final in plan.finals():
    outcome = computing.compute(final.cell, data.load(DATASET))
    plan.store.put(final.cell, outcome)
  return plan.finals(), tables.make(plan).frames


@pytest.fixture(name='split', scope='module')
def _split(tmp_path_factory):
  """The outcome of a split, and the tables."""
  condition = Condition('split', TASK, rulesets=(DEFAULT,))
  folder = tmp_path_factory.mktemp('cells')
  (final,), made = computed(folder, (condition,), ('sgd',))
  return final.outcome, made


def test_a_split_is_judged_by_its_average_accuracy(split):
  outcome, made = split
  found = outcome.measures['average_accuracy']
  assert outcome.test_accuracy == [each[-1] for each in found]
  assert made['results']['test_accuracy'].to_list() == outcome.test_accuracy
  assert 'validation_accuracy' not in outcome.curves
  assert outcome.steps_per_epoch == 12
  assert np.shape(outcome.evaluations) == (2, 2, 2, 2)


def test_online_accuracy_is_tuned_over_all_tasks():
  task = dataclasses.replace(
    on_stream('permuted_labels', DATASET), tasks=3, updates=2, quick=True
  )
  trials = ({'learning_rate': 0.1}, {'learning_rate': 0.2})
  cell = Cell(task, 'sgd', trials, (7,), tests=False)
  outcome = computing.compute(cell, data.load(DATASET))
  online = np.array(outcome.measures['online_accuracy'])
  np.testing.assert_allclose(outcome.scores(1)[:, 0], online.mean(1))
  assert outcome.test_accuracy is None
  assert outcome.evaluations is None


def test_tables_have_every_measure(split):
  outcome, made = split
  streams, measures = made['streams'], made['measures']
  forgotten = streams[streams['measure'] == 'forgetting']['value']
  expected = np.array(outcome.measures['forgetting'], float)[:, -1]
  np.testing.assert_array_equal(forgotten, expected)
  assert {*streams['status']} == {'finished'}
  tasks = measures[measures['measure'] == 'forgetting']['task']
  assert tasks.to_list() == [2]  # It has no value after the first.
  norms = np.array(outcome.measures['weight_norm'])
  found = measures[measures['measure'] == 'weight_norm']
  assert found['n'].to_list() == [2, 2]
  np.testing.assert_allclose(found['mean'], norms.mean(0))
  np.testing.assert_allclose(found['sd'], norms.std(0, ddof=1))
  # The first task at every evaluation, the others at the end of each task.
  evaluations = made['evaluations']
  places = evaluations[['task', 'update', 'evaluated_task']]
  assert [*places.itertuples(index=False, name=None)] == [
    *((1, 10, 1), (1, 12, 1), (1, 12, 2)),
    *((2, 10, 1), (2, 12, 1), (2, 12, 2)),
  ]
  last = np.array(outcome.evaluations)[:, 1, 1, 1]
  assert evaluations['mean'].iloc[-1] == last.mean()


@pytest.mark.slow
def test_the_gap_is_to_networks_that_are_new(tmp_path):
  task = dataclasses.replace(
    on_stream('permuted_labels', DATASET), tasks=10, updates=2, quick=True
  )
  fresh = dataclasses.replace(task, restart=True)
  conditions = (
    Condition('tasks', task, rulesets=(DEFAULT,)),
    Condition('restarted', fresh, rulesets=(DEFAULT,), arms=('adam',), seeds=1),
  )
  finals, made = computed(tmp_path, conditions, ('sgd', 'adam'))
  online = {x.arm: x.outcome.measures['online_accuracy'] for x in finals}
  streams = made['streams']
  gaps = streams[streams['measure'] == 'gap_to_fresh']
  assert [*zip(gaps['arm'], gaps['seed'], strict=True)] == [
    ('sgd', 0), ('sgd', 1), ('adam', 0),
  ]  # fmt: skip
  expected = online['adam'][0][9] - online['sgd'][0][9]
  # Of the other seed there is no reference.
  np.testing.assert_allclose(gaps['value'], [expected, np.nan, 0])
