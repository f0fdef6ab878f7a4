"""Updates of all arms are measured, and times to the target follow."""

import csv

import pytest

from experiments.studies import speeds
from experiments.studies import tables
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.plan import Plan

pytestmark = pytest.mark.usefixtures('one_device')


def test_every_arm_has_a_time(make_study, tmp_path, monkeypatch):
  monkeypatch.setattr(speeds, '_ROUNDS', 5)
  study = make_study()
  plan = Plan(study, study.all_arms, Store(tmp_path))
  assert speeds.missing(plan, None)
  found = speeds.measure(plan, lambda name: workers.load(name, None))
  ((kind, arms),) = found.items()
  assert kind == 'synthetic:4x4x1:3:20:10, mlp, batch 12'
  assert list(arms) == ['sgd', 'adamw']
  assert not speeds.missing(plan, found)
  assert speeds.missing(plan, {kind: {'sgd': 1.0}})
  assert all(seconds > 0 for seconds in arms.values())


@pytest.mark.slow
def test_seconds_are_those_of_the_updates(make_study, tmp_path):
  study = make_study()
  plan = Plan(study, study.all_arms, Store(tmp_path / 'cells'))
  for item in (item for _ in range(5) for item in plan.items()):
    if item.cell and plan.outcome(item.cell) is None:
      plan.store.put(item.cell, workers.compute(item.cell, None))
  kind = speeds.key(study.conditions[0].task)
  tables.write(tmp_path, plan, {kind: {'sgd': 2.0, 'adamw': 3.0}})
  lines = (tmp_path / 'results.csv').read_text().splitlines()
  for row in csv.DictReader(lines):
    pace = {'sgd': 2.0, 'adamw': 3.0}[row['arm']]
    steps, seconds = map(
      float, (row['steps_to_target'], row['seconds_to_target'])
    )
    assert seconds == pace * steps
