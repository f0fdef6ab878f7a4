"""Study directories are loaded whole, or refused in a sentence."""

import json
from pathlib import Path
import shutil

import pytest

from experiments import errors
from experiments.studies import frames
from experiments.studies import loading

RESULTS = Path(__file__).parents[3] / 'experiments' / 'results'


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """A copy of a small study that is committed, without a format."""
  shutil.copytree(RESULTS / 'cifar10', tmp_path / 'study')
  return tmp_path / 'study'


def change(path, old, new):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))


def test_committed_studies_load():
  for path in RESULTS.glob('*/study.json'):
    study = loading.load(path.parent)
    assert study.name == path.parent.name
    assert list(study.conditions)
    assert {*study.results['arm']} <= {*study.arms}
    assert study.finals['accuracy'].between(0, 1).all()
    rows = study.results[study.results['status'] != frames.MISSING]
    assert len(study.finals) == len(rows)
    summary = study.summary
    assert summary['seeds'].sum() == len(study.finals)
    assert [*dict.fromkeys(summary['condition'])] == list(study.conditions)


def test_tables_without_a_file_have_no_rows(folder):
  study = loading.load(folder)
  assert study.trials.empty
  assert not study.alpha.empty
  (condition,) = study.conditions.values()
  assert (condition.stream, condition.tasks, condition.splits) == ('', 0, False)
  assert condition.chance == 0.1
  assert condition.target is None
  assert study.summary[['steps', 'seconds']].isna().all(axis=None)


def test_new_column_and_entry_do_not_matter(folder):
  change(folder / 'study.json', '"arms"', '"later": 1, "arms"')
  path = folder / 'comparisons.csv'
  head, *lines = path.read_text().splitlines()
  path.write_text('\n'.join([f'{head},new', *(f'{x},1' for x in lines)]))
  study = loading.load(folder)
  assert list(study.comparisons)[:-1] == list(frames.TABLES['comparisons'])


@pytest.mark.parametrize(
  ('name', 'old', 'new', 'why'),
  [
    ('study.json', '"program"', '"pro', 'cannot read .*study.json'),
    ('study.json', 'experiments.study', 'other', 'we did not write it'),
    ('study.json', '"definition"', '"format": 2, "definition"', 'format'),
    ('study.json', '"study"', '"stud"', 'study.json'),
    ('study.json', '"chance"', '"luck"', 'KeyError: .chance'),
    ('results.csv', 'cifar10_10', 'cifar100', 'of another study'),
    ('results.csv', ',1,"{', ',0,"{', 'twice'),
    ('results.csv', ',1,"{', ',one,"{', "'one'"),
    ('comparisons.csv', ',muon,', ',lion,', 'of another study'),
  ],
)
def test_damaged_study_is_one_sentence(folder, name, old, new, why):
  change(folder / name, old, new)
  with pytest.raises(errors.StorageError, match=why) as e:
    loading.load(folder)
  assert str(folder) in str(e.value)
  assert '\n' not in str(e.value)


def test_missing_results_are_one_sentence(folder):
  (folder / 'results.csv').unlink()
  with pytest.raises(errors.StorageError, match='no results to report yet'):
    loading.load(folder)
  with pytest.raises(errors.StorageError, match='is no study directory'):
    loading.load(folder / 'nowhere')
  assert json.loads((folder / 'study.json').read_text())['arms']
