"""The program that runs a study, as a process that can be killed."""

import dataclasses
import json
import os
from pathlib import Path
import shutil
import signal

import pytest

from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies.directory import StudyDirectory
from tests.experiments import outcomes
from tests.experiments import program
from tests.experiments.program import Moment

SMOKE = ('digits', '--smoke', '--only=full,adamw', '--workdir=study')


def run(folder, *flags, **options):
  return program.run(folder, *flags, name='study', **options)


def tables(folder, study='study'):
  """The rows of both tables, without what a clock says."""
  names = 'results', 'trials'
  return [outcomes.rows(folder / study / f'{name}.csv') for name in names]


def cells(folder):
  """By name, when the cells were written."""
  found = (folder / 'study' / 'cells').glob('[!.]*')
  return {path.name: path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted study."""
  folder = tmp_path_factory.mktemp('studies') / 'whole'
  result = run(folder, *SMOKE)
  assert result.code == 0, result.stderr
  assert result.stderr == ''
  return folder, result


@pytest.mark.slow
def test_progress_and_study_json_say_what_was_computed(whole):
  folder, result = whole
  lines = result.stdout.splitlines()
  assert 'cells, 0 of them finished; what is missing should take' in lines[1]
  assert [line.partition('/')[0] for line in lines[2:12]] == [
    str(i) for i in range(1, 11)
  ]
  assert ' left' in lines[2]
  assert len(tables(folder)[0]) == 8
  found = json.loads((folder / 'study' / 'study.json').read_text())
  assert found['cells'] == {'planned': 10, 'finished': 10}
  assert found['arms'] == ['full', 'adamw']
  assert found['provenance'][0]['versions']['jax']
  assert set(found['tuning']['digits']['numbers']) == {'full', 'adamw'}
  assert found['end']


@pytest.mark.slow
def test_a_killed_study_ends_as_an_uninterrupted_one(whole, tmp_path):
  folder = tmp_path / 'killed'
  before = {}
  for moment, number in (
    (Moment('os.rename', '.study.json.tmp'), signal.SIGKILL),
    (Moment('os.rename', '.outcome.json.tmp', 3), signal.SIGKILL),
    (Moment('os.rename', '.cell.json.tmp', 2), signal.SIGTERM),
  ):
    result = run(folder, *SMOKE, at=(moment, number))
    assert result.code == -number, result.stderr
    after = cells(folder) if (folder / 'study' / 'cells').exists() else {}
    # What was there is still there, and was not computed again.
    assert before.items() <= after.items()
    before = after
  assert len(before) == 3
  result = run(folder, *SMOKE, '--jobs=2')
  assert result.code == 0, result.stderr
  assert before.items() <= cells(folder).items()
  assert tables(folder) == tables(whole[0])
  assert cells(folder).keys() == cells(whole[0]).keys()
  # Nothing else is left in the folder of cells.
  assert len(os.listdir(folder / 'study' / 'cells')) == 10


@pytest.mark.slow
def test_a_study_is_reported_from_its_tables_alone(whole, tmp_path):
  """As those that are kept in `experiments/results`."""
  folder = tmp_path / 'run'
  shutil.copytree(whole[0] / 'study', folder / 'study')
  shutil.rmtree(folder / 'study' / 'cells')
  before = program.contents(folder / 'study')
  result = program.run(folder, 'study', name='report')
  assert result.code == 0, result.stderr
  assert result.stderr == ''
  assert 'The study is complete: 8 reported trainings.' in result.stdout
  assert 'One change at a time is left out. The study has no' in result.stdout
  found = program.contents(folder / 'study')
  # What it is made from stays as it was.
  assert before.items() <= found.items()
  assert found.keys() - before.keys() >= {
    'report.html', 'tables/summary.md', 'tables/summary.csv',
    'figures/forest_digits_adamw.svg', 'figures/curves_digits_tuned.png',
  }  # fmt: skip


@pytest.mark.slow
def test_cells_of_another_study_directory_are_taken_over(whole):
  folder, _ = whole
  flags = (*SMOKE[:-1], '--workdir=new', '--reuse=study')
  result = run(folder, *flags)
  assert result.code == 0, result.stderr
  assert '10 cells, 10 of them finished' in result.stdout
  assert tables(folder, 'new') == tables(folder)
  there, here = (
    json.loads((folder / name / 'study.json').read_text())['provenance']
    for name in ('study', 'new')
  )
  # What made the cells, and then what took them over.
  assert here[:-1] == there


@pytest.mark.slow
def test_tables_of_a_study_directory_without_cells_are_taken_over(
  whole, tmp_path
):
  folder = tmp_path / 'run'
  shutil.copytree(whole[0] / 'study', folder / 'study')
  shutil.rmtree(folder / 'study' / 'cells')
  result = run(folder, *SMOKE[:-1], '--workdir=new', '--reuse=study')
  assert result.code == 0, result.stderr
  assert '10 cells, 10 of them finished' in result.stdout
  results, trials = tables(folder)
  results = [{**row, 'steps_to_target': ''} for row in results]
  assert tables(folder, 'new') == [results, trials]
  said = json.loads((folder / 'new' / 'study.json').read_text())
  assert len(said['reused']['digits']) == 10
  assert 'digits, tuned, adamw' in said['reused']['digits']
  assert (
    said['provenance'][:-1]
    == json.loads((folder / 'study' / 'study.json').read_text())['provenance']
  )


@pytest.mark.slow
def test_a_killed_parent_takes_its_processes_along(tmp_path):
  folder = tmp_path / 'run'
  with program.started(folder, *SMOKE, '--jobs=2', name='study') as process:
    process.wait_until(lambda: '1/10' in process.stdout)
    children = process.children()
    assert len(children) >= 2
    process.send(signal.SIGKILL)
    process.wait()
  program.wait_for_end(children)


def test_changed_definition_is_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  study = declarations.smoke(catalogue.STUDIES['digits'])
  other = dataclasses.replace(study, seeds=3)
  StudyDirectory(Path('study'), other, ['sgd'], smoke=True).claim()
  before = program.contents(tmp_path)
  result = program.inside('study', *SMOKE)
  assert result.code == 1
  assert 'seeds: 3 there, 10 here' in result.stderr
  result = program.inside('study', 'digits', '--only=sgd', '--workdir=study')
  assert result.code == 1
  assert 'smoke: true there, false here' in result.stderr
  assert program.contents(tmp_path) == before
