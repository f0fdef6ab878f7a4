"""Updates of all arms are measured, and times to the target follow."""

import dataclasses
import functools

import pytest

from experiments.studies import speeds
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.plan import Plan
from experiments.studies.plan import Share
from experiments.studies.running import Runner
from experiments.studies.speeds import Estimate

pytestmark = pytest.mark.usefixtures('one_device')
LOAD = functools.partial(workers.load, data_dir=None)


@pytest.mark.slow
def test_every_arm_has_a_time(make_study, monkeypatch):
  monkeypatch.setattr(speeds, '_ROUNDS', 5)
  task = make_study().conditions[0].task
  found = speeds.measure(task, ('sgd', 'adamw'), LOAD)
  assert list(found) == ['sgd', 'adamw']
  assert all(seconds > 0 for seconds in found.values())


@pytest.mark.usefixtures('computed')
def test_arms_are_measured_once_all_cells_are_there(make_study, tmp_path):
  study = make_study()
  plan = Plan(study, study.all_arms, Store(tmp_path))
  assert speeds.unmeasured(plan, {}) == {}
  Runner(plan, Share(plan.arms), Estimate(LOAD, 1), lambda _: None).run(1)
  kind, arms = 'synthetic:4x4x1:3:20:10, mlp, batch 12', ('sgd', 'adamw')
  wanted = {kind: (study.conditions[0].task, arms)}
  assert speeds.unmeasured(plan, {}) == wanted
  assert speeds.unmeasured(plan, {kind: {'sgd': 1.0}}) == wanted
  for known in ({'sgd': 1.0, 'adamw': 2.0, 'lion': 3.0}, {}):
    assert speeds.unmeasured(plan, {kind: known}) == {}


@pytest.mark.slow
def test_an_epoch_of_one_update_is_measured(make_study, tmp_path):
  study = make_study()
  (item, *_) = Plan(study, study.all_arms, Store(tmp_path)).items()
  task = dataclasses.replace(item.task, batch_size=4096)
  estimate = Estimate(LOAD, 1)
  estimate.measure(task)
  assert estimate.seconds([item._replace(task=task)]) > 0
