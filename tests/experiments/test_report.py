"""The program that makes a report, as users run it."""

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


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ((), "give one study directory, got 'none'"),
    (('study', 'study'), 'give one study directory'),
    (('nowhere',), 'nowhere is not a directory'),
    (('file',), 'file is not a directory'),
    (('empty',), 'empty is no study directory'),
    (('foreign',), 'foreign/study.json: we did not write it'),
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
  before = program.contents(folder), sorted(folder.rglob('*'))
  monkeypatch.chdir(folder)
  result = program.inside('report', *arguments)
  assert result.code == 2
  assert result.stderr.count('\n') == 1
  assert words in result.stderr
  assert (program.contents(folder), sorted(folder.rglob('*'))) == before


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path):
  folder = tmp_path / 'run'
  directories.write(folder / 'study', STUDY)
  result = program.run(folder, 'study', name='report', file_size=2000)
  assert result.code == 2
  assert result.stderr.count('\n') == 1
  assert 'cannot write study/' in result.stderr
  assert not list(folder.rglob('.*'))
