"""Results are taken from the tables of a study whose cells are gone."""

import json
from pathlib import Path
import shutil

import pandas as pd
import pytest

from experiments.studies import catalogue
from experiments.studies import frames
from experiments.studies import known
from experiments.studies import tables
from experiments.studies import versions
from experiments.studies.cells import Store
from experiments.studies.plan import Plan

RESULTS = Path(__file__).parents[3] / 'experiments' / 'results'


def make_plan(name, folder, store):
  arms = json.loads((folder / 'study.json').read_text())['arms']
  others = [known.Tables(folder)]
  return Plan(catalogue.STUDIES[name], arms, Store(store), others)


# Tuned; a stream.
@pytest.mark.parametrize('name', ['digits', 'stream_signals'])
def test_tables_made_of_committed_tables_are_the_same(name, tmp_path):
  plan = make_plan(name, RESULTS / name, tmp_path)
  assert all(plan.outcome(item.cell) for item in plan.items())
  for kind, table in tables.make(plan).frames.items():
    expected = frames.read(RESULTS / name, kind)
    times = [x for x in expected if x.endswith('_to_target')]
    assert table[times].isna().all(axis=None)
    pd.testing.assert_frame_equal(
      table.drop(columns=times), expected.drop(columns=times), rtol=1e-12
    )


def test_a_restarted_network_is_computed(tmp_path):
  """Others are compared with it task by task, which no table holds."""
  plan = make_plan('streams', RESULTS / 'streams', tmp_path)
  computed = [x.task.restart for x in plan.items() if not plan.outcome(x.cell)]
  assert computed == [True] * 15


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """A copy of a small study that is committed."""
  shutil.copytree(RESULTS / 'cifar10', tmp_path / 'study')
  return tmp_path / 'study'


def missing(folder, tmp_path):
  """By arm, how many of its cells are not known."""
  plan = make_plan('cifar10', folder, tmp_path / 'cells')
  arms = [item.arm for item in plan.items() if not plan.outcome(item.cell)]
  return {arm: arms.count(arm) for arm in arms}


def test_the_version_of_the_code_does_not_matter(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(versions, 'code', lambda: 'another')
  assert missing(folder, tmp_path) == {}


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    # A row is missing, or of another seed, or of another learning rate.
    ('sgdm,4,', ''),
    ('sgdm,4,', 'sgdm,5,'),
    ('sgdm,3,"{""learning_rate"": 0.01,', 'sgdm,3,"{""learning_rate"": 0.02,'),
    ('sgdm,0,"{""learning_rate"": 0.01,', 'sgdm,0,"{""learning_rate"": 0.02,'),
  ],
)
def test_what_does_not_match_is_computed(folder, tmp_path, old, new):
  path = folder / 'results.csv'
  lines = path.read_text().splitlines(keepends=True)
  changed = [
    line.replace(old, new) if new else '' for line in lines if old in line
  ]
  assert len(changed) == 1
  path.write_text(
    ''.join([line for line in lines if old not in line] + changed)
  )
  assert missing(folder, tmp_path) == {'sgdm': 1}


def test_a_study_without_results_knows_nothing(folder, tmp_path):
  for path in folder.glob('*.csv*'):
    path.unlink()
  assert len(missing(folder, tmp_path)) == 6


def test_another_task_is_computed(folder, tmp_path):
  path = folder / 'study.json'
  path.write_text(path.read_text().replace('"epochs": 10', '"epochs": 11'))
  assert len(missing(folder, tmp_path)) == 6
