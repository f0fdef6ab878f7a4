"""Cells appear whole, under a name that says what they are."""

import dataclasses
import os

import pytest

from experiments.studies import versions
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.studies.cells import Store
from experiments.studies.declarations import Task

CELL = Cell(
  Task('digits', 'mlp'), 'sgd', ({'learning_rate': 0.1},), (0, 1), tests=True
)
OUTCOME = Outcome(
  curves={
    'train_loss': [[1.0, 0.5], [2.0, None]],
    'validation_accuracy': [[0.1, 0.5], [None, 0.25]],
  },
  test_accuracy=[0.5, 0.1],
  diverged=[False, True],
  steps_per_epoch=3,
  seconds=1.5,
)


@pytest.fixture
def folder(tmp_path):
  store = Store(tmp_path / 'cells')
  with store.claimed(CELL) as ours:
    assert ours
    store.put(CELL, OUTCOME)
  return tmp_path / 'cells'


def test_stored_outcome_is_read_back(folder):
  assert Store(folder).get(CELL) == OUTCOME
  assert [path.name for path in folder.iterdir()] == [CELL.digest]


@pytest.mark.parametrize(
  'change',
  [
    {'task': Task('digits', 'mlp', label_noise=0.2)},
    {'task': Task('digits', 'cnn')},
    {'arm': 'adam'},
    {'trials': ({'learning_rate': 0.2},)},
    {'seeds': (0, 2)},
    {'tests': False},
  ],
)
def test_another_cell_has_another_name(folder, change):
  assert Store(folder).get(dataclasses.replace(CELL, **change)) is None


def test_cells_of_other_code_are_not_used(folder, monkeypatch):
  monkeypatch.setattr(versions, 'code', lambda: 'another')
  store = Store(folder)
  assert store.get(dataclasses.replace(CELL)) is None
  assert store.stale() == 1


def test_version_changes_with_code_and_not_with_comments(monkeypatch, tmp_path):
  path = tmp_path / 'neuroplastic_optax' / 'new.py'
  path.parent.mkdir()
  path.write_text('x = 1\n')
  monkeypatch.setattr(versions, '_ROOT', tmp_path)
  monkeypatch.setattr(versions, '_SOURCES', ('neuroplastic_optax',))
  before = versions.code.__wrapped__()
  assert before == versions.code.__wrapped__()
  for same in (
    '# A comment.\n\nx = (1)\n',
    '"""What this is."""\nx = 1\n"""What x is."""\n',
  ):
    path.write_text(same)
    assert before == versions.code.__wrapped__()
  for other in ('x = 2\n', 'x = "1"\n', 'x = 1\nx\n'):
    path.write_text(other)
    assert before != versions.code.__wrapped__()


@pytest.mark.parametrize(
  'damage',
  [
    lambda file: file.write_text(file.read_text().replace('curves', 'c')),
    lambda file: os.truncate(file, 10),
    lambda file: file.unlink(),
  ],
)
def test_a_damaged_cell_is_missing_and_can_be_replaced(folder, damage):
  damage(folder / CELL.digest / 'outcome.json')
  store = Store(folder)
  assert store.get(CELL) is None
  store.put(CELL, OUTCOME)
  assert Store(folder).get(CELL) == OUTCOME


def test_a_cell_is_claimed_once(tmp_path):
  store, other = Store(tmp_path), Store(tmp_path)
  with store.claimed(CELL) as ours:
    with other.claimed(CELL) as theirs:
      assert (ours, theirs) == (True, False)
    with other.claimed(dataclasses.replace(CELL, arm='adam')) as theirs:
      assert theirs
  with other.claimed(CELL) as theirs:
    assert theirs


def test_first_of_two_outcomes_stays(folder):
  later = dataclasses.replace(OUTCOME, seconds=9.0)
  Store(folder).put(CELL, later)
  assert Store(folder).get(CELL) == OUTCOME
