"""Arms have one place in all pictures, and labels do not overlap."""

import numpy as np
import pytest

from experiments import optimizers
from experiments.reporting.plots import families
from experiments.reporting.plots import labels


@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_labels_are_apart_and_in_order(count):
  for seed in range(5):
    places = np.random.default_rng(seed).uniform(0, 1, count) ** 3
    found = np.array(labels.spread(places.tolist(), 0.1))
    order = np.argsort(places)
    assert np.all(np.diff(found[order]) >= 0.1 - 1e-9)
    assert np.all((found >= -1e-9) & (found <= 1 + 1e-9))


def test_labels_move_as_little_as_can_be():
  assert labels.spread([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])
  assert labels.spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_every_arm_has_one_place():
  arms = [*optimizers.ARMS, 'one of 2020']
  panels = families.panels(arms, arms)
  assert sorted(arm for _, x in panels for arm in x) == sorted(arms)
  assert max(len(members) for _, members in panels) <= 7
  # Titles count the panels that are drawn; an arm keeps its neighbours.
  others = [x for x in arms if families.of(x) == families.of('adam')]
  every, some = (
    families.panels(others, others),
    families.panels(others, ['adam']),
  )
  assert every[0][0] == f'{families.of("adam")} (1 of {len(every)})'
  ((title, members),) = some
  assert title == families.of('adam')
  assert members in [x for _, x in every]


def test_families_are_those_of_the_registry():
  assert families.of('full') == optimizers.ARMS['full'].family
  # A run names hyperparameters, too.
  assert families.of('adam, learning_rate=0.1') == families.of('adam')
  assert families.of('one of 2020') == families.UNKNOWN
