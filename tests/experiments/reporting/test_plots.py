"""What the pictures of a report share."""

import numpy as np
import pytest

from experiments import optimizers
from experiments.reporting.plots import families
from experiments.reporting.plots import labels
from experiments.studies import catalogue


@pytest.mark.parametrize('count', [0, 1, 2, 7])
@pytest.mark.parametrize('seed', range(5))
def test_labels_are_apart_and_in_order(count, seed):
  places = np.random.default_rng(seed).uniform(0, 1, count) ** 3
  found = np.array(labels.spread(places.tolist(), 0.1))
  order = np.argsort(places)
  assert np.all(np.diff(found[order]) >= 0.1 - 1e-9)
  assert np.all((found >= -1e-9) & (found <= 1 + 1e-9))


def test_labels_that_are_apart_stay():
  assert labels.spread([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])


def test_labels_share_the_way():
  assert labels.spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_every_arm_has_one_place():
  arms = [*optimizers.ARMS, 'one of 2020']
  panels = families.panels(arms, arms)
  assert sorted(arm for _, x in panels for arm in x) == sorted(arms)
  assert max(len(members) for _, members in panels) <= 7


def test_titles_count_the_panels_that_are_drawn():
  arms = [x for x in optimizers.ARMS if families.of(x) == families.OTHERS]
  every, some = families.panels(arms, arms), families.panels(arms, arms[:1])
  assert len(every) > 1
  assert every[0][0] == f'{families.OTHERS} (1 of {len(every)})'
  assert some == [(families.OTHERS, every[0][1])]


@pytest.mark.parametrize(
  ('arm', 'family'),
  [
    ('full', 'NeuroPlastic'),
    ('shuffled', 'controls'),
    ('shuffled_no_clip', 'controls'),
    ('memory_only_no_clip', 'NeuroPlastic'),
    ('weight_clipping', 'mechanisms of plasticity'),
    ('signal_memory', 'signals of α'),
    ('unit_rms_memory_no_clip', 'signals of α'),
    ('unit_rms_shuffled_no_clip', 'controls'),
    ('gain_adam', 'α over another optimizer'),
    ('gain_adam_classifier', 'α over another optimizer'),
    ('muon', 'other optimizers'),
    ('one of 2020', 'unknown arms'),
  ],
)
def test_families(arm, family):
  assert families.of(arm) == family


def test_no_arm_of_the_catalogue_is_unknown():
  arms = {arm for study in catalogue.STUDIES.values() for arm in study.all_arms}
  assert not [arm for arm in arms if families.of(arm) == families.UNKNOWN]
