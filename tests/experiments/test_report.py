"""The program that makes a report, as users run it."""

import pytest

from tests.experiments import program
from tests.experiments.reporting import directories


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ((), "give one study directory, got 'none'"),
    (('study', 'study'), 'give one study directory'),
    (('nowhere',), 'nowhere is '),
    (('file',), 'file is no study directory'),
    (('empty',), 'empty'),
    (('foreign',), 'foreign'),
    (('bare',), 'bare/results.csv is not there or empty'),
    (('study', '--workdir=x'), 'workdir'),
    (('',), 'no study directory'),
  ],
)
def test_wrong_arguments_exit_with_one_line(
  tmp_path, monkeypatch, arguments, words
):
  for name in ('study', 'bare'):
    directories.write(tmp_path / name, arms=('sgd', 'adamw'), seeds=2)
  (tmp_path / 'bare' / 'results.csv').unlink()
  (tmp_path / 'file').touch()
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'foreign').mkdir()
  (tmp_path / 'foreign' / 'study.json').write_text('{"program": "other"}')
  before = program.contents(tmp_path)
  monkeypatch.chdir(tmp_path)
  result = program.inside('report', *arguments)
  assert result.code == 1
  assert result.stderr.count('\n') == 1
  assert words in result.stderr
  assert program.contents(tmp_path) == before


@pytest.mark.parametrize('name', ['figures', 'report.html', None])
def test_what_cannot_be_written_exits_with_one_line(tmp_path, name):
  folder = tmp_path / 'run'
  directories.write(folder / 'study', arms=('sgd', 'adamw'), seeds=2, tables=())
  if name == 'figures':
    (folder / 'study' / name).touch()
  elif name:
    (folder / 'study' / name).mkdir()
  # A disk that takes no more.
  limit = None if name else 2000
  result = program.run(folder, 'study', name='report', file_size=limit)
  assert result.code == 1
  assert result.stderr.count('\n') == 1
  assert f'cannot write study/{name or ""}' in result.stderr
  assert not list(folder.rglob('.*'))
