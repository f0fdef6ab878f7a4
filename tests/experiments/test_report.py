"""The program that makes a report, as users run it."""

import shutil

import pytest

from experiments.studies.declarations import Condition
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from tests.experiments import program
from tests.experiments.reporting import directories

STUDY = Study(
  'tiny',
  ('sgd', 'adamw'),
  (Condition('here', Task('digits', 'mlp'), rulesets=('default',)),),
  seeds=2,
)


def run(folder, *arguments):
  return program.run(folder, *arguments, name='report')


def contents(path):
  """By path, the files of a folder."""
  return {
    str(each.relative_to(path)): each.read_bytes()
    for each in path.rglob('*')
    if each.is_file()
  }


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
  """A real study, the smallest."""
  folder = tmp_path_factory.mktemp('studies') / 'smoke'
  result = program.run(
    folder, 'digits', '--smoke', '--workdir=study', name='study'
  )
  assert result.code == 0, result.stderr
  return folder / 'study'


@pytest.mark.slow
def test_a_study_is_reported_from_its_tables_alone(smoke, tmp_path):
  """As those that are kept in `experiments/results`."""
  folder = tmp_path / 'run'
  shutil.copytree(smoke, folder / 'study')
  shutil.rmtree(folder / 'study' / 'cells')
  before = contents(folder / 'study')
  result = run(folder, 'study')
  assert result.code == 0, result.stderr
  assert result.stderr == ''
  assert 'The study is complete: 12 reported trainings.' in result.stdout
  assert 'One change at a time is left out. The study has no' in result.stdout
  found = contents(folder / 'study')
  # What it is made from stays as it was.
  assert before.items() <= found.items()
  new = found.keys() - before.keys()
  assert {name.partition('/')[0] for name in new} == {
    'report.html', 'tables', 'figures',
  }  # fmt: skip
  assert new >= {
    'tables/summary.md', 'tables/summary.csv',
    'figures/forest_digits_adamw.svg',
    'figures/curves_digits_tuned.svg', 'figures/curves_digits_tuned.png',
    'figures/learning_rates_digits.svg', 'figures/tuning_digits.svg',
    'figures/alpha_digits_mean.svg',
  }  # fmt: skip
  # Once more, it is the same.
  assert run(folder, 'study').code == 0
  assert contents(folder / 'study') == found


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ((), "give one study directory, got 'none'"),
    (('study', 'study'), 'give one study directory'),
    (('nowhere',), 'nowhere is not a directory'),
    (('file',), 'file is not a directory'),
    (('empty',), 'empty is no study directory'),
    (('foreign',), 'foreign is no study directory'),
    (('bare',), r'bare/results.csv is not there or empty'),
    (('study', '--workdir=x'), 'workdir'),
    (('',), 'DIR must name a folder'),
    (('blocked',), 'cannot write blocked/figures: it is not a directory'),
    (('taken',), 'cannot write taken/report.html: it is a directory'),
  ],
)
def test_what_cannot_be_is_one_sentence(
  tmp_path, monkeypatch, arguments, words
):
  folder = tmp_path / 'run'
  for name in ('study', 'bare', 'blocked', 'taken'):
    directories.write(folder / name, STUDY)
  (folder / 'bare' / 'results.csv').unlink()
  (folder / 'blocked' / 'figures').touch()
  (folder / 'taken' / 'report.html').mkdir()
  (folder / 'file').touch()
  (folder / 'empty').mkdir()
  (folder / 'foreign').mkdir()
  (folder / 'foreign' / 'study.json').write_text('{"program": "other"}')
  before = contents(folder), sorted(folder.rglob('*'))
  monkeypatch.chdir(folder)
  result = program.inside('report', *arguments)
  assert result.code == 2
  assert result.stderr.count('\n') == 1
  assert words in result.stderr
  assert (contents(folder), sorted(folder.rglob('*'))) == before


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path):
  folder = tmp_path / 'run'
  directories.write(folder / 'study', STUDY)
  result = program.run(folder, 'study', name='report', file_size=2000)
  assert result.code == 2
  assert result.stderr.count('\n') == 1
  assert 'cannot write study/' in result.stderr
  assert not list(folder.rglob('.*'))
