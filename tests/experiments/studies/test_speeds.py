"""Updates of all arms are measured, and times to the target follow."""

import dataclasses
import json

import pytest

from experiments.studies import speeds
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.directory import FILE
from experiments.studies.directory import speeds_of
from experiments.studies.directory import StudyDirectory
from experiments.studies.plan import Plan
from experiments.studies.speeds import Estimate

pytestmark = pytest.mark.usefixtures('one_device')


@pytest.mark.slow
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


def test_times_of_another_study_are_taken_over(make_study, tmp_path):
  study = make_study()
  plan = Plan(study, study.all_arms, Store(tmp_path))
  kind = speeds.key(study.conditions[0].task)
  load = lambda name: pytest.fail('nothing is to be measured')
  alone = {kind: {'sgd': 1.0}}
  both = {kind: {'adamw': 3.0, 'sgd': 2.0, 'lion': 1.0}}
  assert speeds.measure(plan, load, [{}, alone, both]) == {
    kind: {'sgd': 2.0, 'adamw': 3.0}
  }
  # Times that were measured apart do not compare.
  with pytest.raises(pytest.fail.Exception):
    speeds.measure(plan, load, [alone, {kind: {'adamw': 3.0}}])


@pytest.mark.parametrize('change', ['nothing', 'code', 'hardware'])
def test_only_times_of_this_code_and_machine_are_taken_over(
  make_study, tmp_path, change
):
  study = make_study()
  directory = StudyDirectory(tmp_path, study, study.all_arms, smoke=False)
  directory.claim()
  directory.write_speeds({'digits, mlp, batch 32': {'sgd': 1.0}})
  found = json.loads((tmp_path / FILE).read_text())
  if change == 'code':
    found['code'] = 'another'
  if change == 'hardware':
    found['provenance'][-1]['hardware']['cores'] = 1000
  (tmp_path / FILE).write_text(json.dumps(found))
  assert bool(speeds_of(tmp_path)) == (change == 'nothing')


def test_an_epoch_of_one_update_is_measured(make_study, tmp_path):
  study = make_study()
  (item, *_) = Plan(study, study.all_arms, Store(tmp_path)).items()
  task = dataclasses.replace(item.task, batch_size=4096)
  estimate = Estimate(lambda name: workers.load(name, None), 1)
  estimate.measure(task)
  assert estimate.seconds([item._replace(task=task)]) > 0
