"""What a study keeps of streams, and the tables that it makes of it."""

import dataclasses

import numpy as np
import pytest

from experiments import data
from experiments.configs import default
from experiments.studies import computing
from experiments.studies import learned
from experiments.studies import tables
from experiments.studies.cells import Cell
from experiments.studies.cells import Store
from experiments.studies.declarations import Condition
from experiments.studies.declarations import DEFAULT
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import Study
from experiments.studies.plan import Plan
from experiments.training import run as runs

DATASET = 'synthetic:4x4x1:4:40:20'
TASK = dataclasses.replace(
  on_stream('split', DATASET, model='mlp_small'),
  tasks=2,
  updates=12,
  batch_size=8,
  quick=True,
)
STUDY = Study(
  'tiny', ('sgd',), (Condition('split', TASK, rulesets=(DEFAULT,)),), seeds=2
)


@pytest.fixture(name='plan', scope='module')
def _plan(tmp_path_factory):
  """A study of one cell, which is computed."""
  plan = Plan(STUDY, ('sgd',), Store(tmp_path_factory.mktemp('cells')))
  (final,) = plan.finals()
  outcome = computing.compute(final.cell, data.load(DATASET))
  plan.store.put(final.cell, outcome)
  return plan


def test_a_stream_is_judged_by_its_accuracy(plan):
  (final,) = plan.finals()
  outcome = plan.outcome(final.cell)
  found = outcome.measures['average_accuracy']
  assert outcome.test_accuracy == [each[-1] for each in found]
  assert 'validation_accuracy' not in outcome.curves
  assert outcome.steps_per_epoch == 12
  assert np.shape(outcome.evaluations) == (2, 2, 2, 2)


def test_what_is_tuned_sees_no_test_image():
  cell = Cell(TASK, 'sgd', ({'learning_rate': 0.1},), (0,), tests=False)
  dataset = data.load(DATASET)
  part = computing.training_part(cell, dataset)
  shown = {x.tobytes() for x in dataset.train_images}
  assert {x.tobytes() for x in part.test_images} <= shown
  assert len(part.train_images) + len(part.test_images) == 40
  final = dataclasses.replace(cell, tests=True)
  assert computing.training_part(final, dataset) is dataset


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


def test_the_tables_have_every_measure(plan):
  (final,) = plan.finals()
  outcome = plan.outcome(final.cell)
  tables = {
    name: (columns, list(rows)) for name, columns, rows in learned.tables(plan)
  }
  for columns, rows in tables.values():
    assert rows
    assert all(tuple(row) == columns for row in rows)
    assert {row['arm'] for row in rows} == {'sgd'}
  summaries, by_task, evaluations = (rows for _, rows in tables.values())
  forgotten = [
    float(row['value']) for row in summaries if row['measure'] == 'forgetting'
  ]
  expected = np.array(outcome.measures['forgetting'], float)[:, -1]
  np.testing.assert_allclose(forgotten, expected, rtol=1e-5)
  assert {row['status'] for row in summaries} == {'finished'}
  tasks = [row['task'] for row in by_task if row['measure'] == 'forgetting']
  assert tasks == [2]  # It has no value after the first.
  norms = np.array(outcome.measures['weight_norm'])
  found = [row for row in by_task if row['measure'] == 'weight_norm']
  for row, column in zip(found, norms.T, strict=True):
    assert row['n'] == 2
    assert float(row['mean']) == pytest.approx(column.mean(), rel=1e-5)
    assert float(row['sd']) == pytest.approx(column.std(ddof=1), rel=1e-4)
  # The first task at every evaluation, the others at the end of each task.
  places = [
    (row['task'], row['update'], row['evaluated_task']) for row in evaluations
  ]
  assert places == [
    *((1, 10, 1), (1, 12, 1), (1, 12, 2)),
    *((2, 10, 1), (2, 12, 1), (2, 12, 2)),
  ]
  last = np.array(outcome.evaluations)[:, 1, 1, 1]
  assert float(evaluations[-1]['mean']) == pytest.approx(last.mean())


def test_the_gap_is_to_networks_that_are_new(tmp_path):
  task = dataclasses.replace(
    on_stream('permuted_labels', DATASET), tasks=10, updates=2, quick=True
  )
  fresh = dataclasses.replace(task, restart=True)
  conditions = (
    Condition('tasks', task, rulesets=(DEFAULT,)),
    Condition('restarted', fresh, rulesets=(DEFAULT,), arms=('adam',), seeds=1),
  )
  plan = Plan(
    Study('tiny', ('sgd',), conditions, seeds=2),
    ('sgd', 'adam'),
    Store(tmp_path),
  )
  online = {}
  for final in plan.finals():
    outcome = computing.compute(final.cell, data.load(DATASET))
    plan.store.put(final.cell, outcome)
    online[final.arm] = outcome.measures['online_accuracy']
  gaps = {
    (row['arm'], row['seed']): row['value']
    for row in learned.summary_rows(plan)
    if row['measure'] == 'gap_to_fresh'
  }
  # Of the other seed there is no reference.
  assert gaps.pop(('sgd', 1)) == ''
  expected = online['adam'][0][9] - online['sgd'][0][9]
  assert float(gaps.pop(('sgd', 0))) == pytest.approx(expected, abs=1e-6)
  assert gaps == {('adam', 0): '0'}


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
def test_cells_train_as_runs_do(tmp_path):
  """To the last bit."""
  config = default.get_config()
  config.update(
    dataset=DATASET,
    stream='split',
    model='mlp_small',
    tasks=2,
    updates=12,
    batch_size=8,
    arms='sgd',
    seeds=2,
  )
  run = runs.train(
    default.Config.resolve(config), tmp_path / 'run', runs.Observer()
  )
  task = dataclasses.replace(TASK, quick=False)
  cell = Cell(task, 'sgd', ({'learning_rate': 0.1},), (0, 1), tests=True)
  outcome = computing.compute(cell, data.load(DATASET))
  history = run.histories['sgd']
  for name in ('online_loss', 'plasticity', 'weight_norm'):
    assert outcome.measures[name] == history[name].tolist()
  assert outcome.evaluations == history.evaluations.tolist()


def test_on_streams_arms_are_compared_with_sgd_too(plan):
  rows = [
    {
      **{'condition': 'split', 'ruleset': DEFAULT, 'arm': arm, 'seed': seed},
      **{'test_accuracy': 0.1 * seed + better, 'status': 'finished'},
    }
    for arm, better in (('sgd', 0.0), ('adamw', 0.2), ('upgd', 0.3))
    for seed in range(3)
  ]
  found = [
    (row['arm'], row['reference'], round(row['mean_difference'], 6))
    for row in tables.comparison_rows(plan, rows)
  ]
  assert found == [
    ('sgd', 'adamw', -0.2),
    ('upgd', 'adamw', 0.1),
    ('adamw', 'sgd', 0.2),
    ('upgd', 'sgd', 0.3),
  ]
