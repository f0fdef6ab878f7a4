"""The studies are declared as they are meant, and of things that exist."""

import itertools
import json

import pytest

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies.cells import Store
from experiments.studies.plan import Plan

STUDIES = catalogue.STUDIES


@pytest.mark.parametrize('smoke', [False, True])
def test_arms_conditions_and_tasks_exist(smoke):
  for name, study in STUDIES.items():
    _check(name, declarations.smoke(study) if smoke else study)


def _check(name, study):
  assert study.name == name
  assert set(study.all_arms) <= set(optimizers.ARMS)
  assert len(set(study.arms)) == len(study.arms)
  names = [each.name for each in study.conditions]
  assert len(set(names)) == len(names)
  json.dumps(study.definition())
  tasks = dict(study.tuning.tasks) if study.tuning else {}
  for each in study.conditions:
    if declarations.TUNED in each.rulesets:
      assert each.tuned_on in tasks
      tuned = set(study.tuning.arms_of(each.tuned_on))
      # The others are tuned under another condition, if at all.
      untuned = {*study.most_seeds, *study.tuning.arms} - tuned
      assert set(each.arms or study.arms) <= tuned | untuned
    if declarations.STABLE in each.rulesets:
      # Of one task alone, whatever is best is stable.
      assert len(study.tuning.tasks) > 1
    tasks[each.name] = each.task
  for task in tasks.values():
    assert data.spec(task.dataset)
    assert task.model in models.MODELS


# Another reference is enough for them.
NO_REFERENCE = (
  *('published_stream', 'stream_signals', 'stream_muon', 'regeneration'),
)
# As published, and as a GPU does in minutes.
FEW_SEEDS = {'published_stream': 3, 'cifar10_resnet18': 2}


@pytest.mark.parametrize('name', STUDIES)
def test_references_are_there_and_seeds_are_enough(name):
  study = STUDIES[name]
  for condition in study.conditions:
    arms = condition.arms or study.arms
    assert 'gradient_only' in arms or name in NO_REFERENCE
    for ruleset, arm in itertools.product(condition.rulesets, arms):
      seeds = study.seed_list(condition, ruleset, arm)
      assert seeds == tuple(range(len(seeds)))
      few = study.most_seeds.get(arm) or FEW_SEEDS.get(name)
      assert len(seeds) in ((few,) if few else (5, 10, 20))
  assert study.conditions[0].arms is None
  assert 'adamw' in study.arms or name in NO_REFERENCE


def test_studies_that_share_a_tuning_share_its_cells(tmp_path):
  plans = [
    Plan(STUDIES[name], STUDIES[name].all_arms, Store(tmp_path))
    for name in ('fashion_mnist', 'low_data', 'label_noise')
  ]
  whole, low_data, label_noise = (
    {item.cell.digest for item in plan.items() if item.what == 'rates'}
    for plan in plans
  )
  assert whole == low_data
  # It takes no numbers from the other condition.
  assert label_noise < whole


def test_every_arm_is_tuned_with_equal_trials(tmp_path):
  study = STUDIES['low_data']
  plan = Plan(study, study.all_arms, Store(tmp_path))
  sizes = {}
  for item in plan.items():
    if item.shared:
      sizes.setdefault((item.condition, item.arm), []).append(item.size)
  whole = study.tuning.arms_of('fashion_mnist')
  assert {*catalogue.KEY_ARMS, 'gain_adam'} == set(whole)
  assert len(sizes) == len(study.arms) + len(whole)
  assert {tuple(x) for x in sizes.values()} == {(5, 10, 9)}


def test_published_grid_has_every_combination():
  grid = STUDIES['mnist'].conditions[1:]
  found = {(x.task.warmup_epochs, *x.numbers.values()) for x in grid}
  assert len(found) == len(grid) == 4 * 3 * 3
  assert not any(each.task.held_out for each in grid)
  only_rate = grid[0].defaults('gradient_only')
  assert only_rate == {'learning_rate': 0.1}


def test_arm_without_kappa_is_not_trained_again_for_its_warm_up(tmp_path):
  study = STUDIES['mnist']
  plan = Plan(study, study.all_arms, Store(tmp_path))
  found = {'full': set(), 'gradient_only': set()}
  for final in plan.finals():
    if final.condition in study.conditions[1:]:
      found[final.arm].add(final.cell.digest)
  assert len(found['full']) == 4 * 3 * 3
  assert len(found['gradient_only']) == 3


def test_streams_are_tuned_and_computed_one_after_the_other(tmp_path):
  study = STUDIES['streams']
  plan = Plan(study, study.all_arms, Store(tmp_path))
  items = plan.items()
  places = [each.name for each in study.conditions]
  slow = [item.arm in study.most_seeds for item in items]
  assert slow == sorted(slow)
  order = [places.index(item.condition) for item in items]
  order = order[: slow.index(True)]
  assert order == sorted(order)
  tuned = {}
  for item in items:
    if item.shared:
      tuned.setdefault(item.condition, set()).add(item.arm)
  assert tuned['permuted_labels'] == set(catalogue.STREAM_ARMS)
  assert tuned['split'] == set(catalogue.SPLIT_ARMS)
  # Muon is not tuned, and so is reported at its defaults alone.
  muon = [final for final in plan.finals() if final.arm == 'muon']
  assert muon
  assert all(final.ruleset == declarations.DEFAULT for final in muon)
  assert all(len(final.seeds) == 2 for final in muon)


def test_tiny_streams_have_a_split_among_them():
  study = declarations.smoke(STUDIES['streams'])
  names = [each.name for each in study.conditions]
  assert names == ['permuted_labels', 'split']


def test_a_condition_replaces_tuned_numbers():
  (condition,) = (
    each
    for each in STUDIES['streams'].conditions
    if each.name == 'permuted_labels_no_decay'
  )
  tuned = {'learning_rate': 0.3, 'weight_decay': 1e-3}
  assert condition.replaced('sgd', tuned) == {**tuned, 'weight_decay': 0.0}
  assert condition.replaced('prodigy', {'learning_rate': 1.0}) == {
    'learning_rate': 1.0,
    'weight_decay': 0.0,
  }
