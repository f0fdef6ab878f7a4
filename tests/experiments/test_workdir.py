"""A directory is claimed, resumed and overwritten; no other is touched."""

import json
import os
import pathlib
import shutil

import pytest

from experiments import errors
from experiments import files
from experiments import workdir
from tests.experiments.program import contents

SETTINGS = {'dataset': 'digits', 'arms': ['sgd'], 'rate': (0.1, 0.2)}
OTHER = SETTINGS | {'dataset': 'mnist'}
WRITTEN = ('checkpoints', 'metrics.csv', 'results.json', 'tensorboard')
# What a run leaves, whole or half written.
LEFT = (
  'checkpoints/sgd/1/state/x',
  'metrics.csv',
  'results.json',
  'tensorboard/sgd/seed0/events',
  '.metrics.csv.tmp',
)


@pytest.fixture(name='path')
def _path(tmp_path):
  return tmp_path / 'a run' / 'of mine'


def _directory(path, format_=2):
  return workdir.Workdir(path, 'run', 'train', 'config.json', format_)


def _open(path, settings=SETTINGS, **options):
  options = {'resume': True, 'overwrite': False} | options
  return _directory(path).claimed(settings, WRITTEN, **options)


def _claim(path, *args, **options):
  with _open(path, *args, **options) as resumes:
    return resumes


def _fill(path, names=LEFT):
  for name in names:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(name)


def test_bracket_in_the_path_is_refused(path):
  with pytest.raises(workdir.WorkdirError, match=r'has a \[ in its name'):
    _claim(path / 'run[1]')
  assert not path.exists()


def test_new_directory_is_made_with_its_parents(path):
  assert not _claim(path)
  config = json.loads((path / 'config.json').read_text())
  assert config == {
    'program': 'neuroplastic_optax/experiments.train',
    'format': 2,
    **SETTINGS,
    'rate': [0.1, 0.2],
  }


@pytest.mark.parametrize('left', [(), ('.lock',), ('.config.json.tmp',)])
def test_empty_directory_is_as_good_as_a_new_one(path, left):
  path.mkdir(parents=True)
  _fill(path, left)
  assert not _claim(path)


def test_same_settings_resume_and_change_nothing(path):
  _claim(path)
  _fill(path)
  before = contents(path)
  assert _claim(path)
  assert contents(path) == before
  with pytest.raises(workdir.WorkdirError, match='holds this run already'):
    _claim(path, resume=False)
  assert contents(path) == before


@pytest.mark.parametrize('resume', [True, False])
def test_other_settings_are_refused_with_the_differences(path, resume):
  _claim(path)
  _fill(path)
  before = contents(path)
  other = OTHER | {'new': 1}
  del other['arms']
  with pytest.raises(workdir.WorkdirError) as info:
    _claim(path, other, resume=resume)
  assert str(info.value) == (
    f'--workdir={path} holds another run (arms: ["sgd"] there, null here; '
    'dataset: "digits" there, "mnist" here; new: null there, 1 here); name '
    'another directory, or pass --overwrite to delete it and start again.'
  )
  assert contents(path) == before


def test_settings_that_may_change_are_taken_over(path):
  _claim(path)
  may_change = lambda name, there: (name, there) == ('dataset', 'digits')
  assert _claim(path, OTHER, may_change=may_change)
  assert json.loads((path / 'config.json').read_text())['dataset'] == 'mnist'
  assert _claim(path, OTHER)
  with pytest.raises(workdir.WorkdirError, match=r'\(dataset: [^;]*\)'):
    _claim(path, SETTINGS, may_change=may_change)


@pytest.mark.parametrize('settings', [SETTINGS, OTHER])
def test_overwrite_deletes_what_a_run_writes_and_no_more(path, settings):
  _claim(path)
  _fill(path)
  kept = ['notes.txt', 'plots/curves.png', '.mine.tmp', 'metrics.csv~']
  _fill(path, kept)
  assert not _claim(path, settings, overwrite=True)
  left = contents(path)
  config = json.loads(left.pop('config.json'))
  assert config['dataset'] == settings['dataset']
  assert left == {
    '.lock': b'',
    'plots': None,
    **{name: name.encode() for name in kept},
  }


def test_overwrite_does_not_follow_links(path, tmp_path):
  _claim(path)
  _fill(tmp_path / 'elsewhere', ['precious'])
  (path / 'checkpoints').symlink_to(tmp_path / 'elsewhere')
  (path / 'metrics.csv').symlink_to(tmp_path / 'elsewhere' / 'precious')
  assert not _claim(path, overwrite=True)
  assert (tmp_path / 'elsewhere' / 'precious').read_text() == 'precious'
  assert not (path / 'checkpoints').exists()


@pytest.mark.parametrize(
  'theirs',
  [
    {'thesis.tex': ''},
    {'checkpoints/step_100/weights': '', 'config.json': '{"model": "bert"}'},
    {'metrics.csv': 'step,loss'},
    {'config.json': '{"dataset": "digits", "arms": ["sgd"], "epochs": 5}'},
    {'config.json': '[]'},
    {'config.json': 'not json'},
    {'config.json': '[' * 100_000},
    {'config.json': b'\xff\xfe'},
    {'config.json/inner': ''},
    {'.lock': '', 'metrics.csv': ''},
  ],
)
@pytest.mark.parametrize('overwrite', [True, False])
def test_directory_of_others_is_refused_and_not_touched(
  path, theirs, overwrite
):
  path.mkdir(parents=True)
  for name, content in theirs.items():
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    (path / name).write_bytes(data)
  before = contents(path)
  with pytest.raises(errors.UserError) as info:
    _claim(path, overwrite=overwrite)
  assert str(path) in str(info.value)
  assert '\n' not in str(info.value)
  assert contents(path) == before


@pytest.mark.parametrize('overwrite', [True, False])
def test_run_of_another_version_is_refused(path, overwrite):
  with _directory(path, 1).claimed(
    SETTINGS, WRITTEN, resume=True, overwrite=False
  ):
    pass
  before = contents(path)
  with pytest.raises(
    errors.StorageError, match=r'config\.json: its format is 1, and .* reads 2'
  ):
    _claim(path, overwrite=overwrite)
  assert contents(path) == before


@pytest.mark.parametrize('overwrite', [True, False])
def test_directory_in_use_is_refused_until_it_is_released(path, overwrite):
  with _open(path):
    _fill(path)
    before = contents(path)
    with pytest.raises(workdir.WorkdirError, match='is in use by'):
      _claim(path, overwrite=overwrite)
    assert contents(path) == before
  assert _claim(path)


@pytest.mark.parametrize('deleted', range(1 + len(LEFT)))
def test_crash_while_overwriting_leaves_nothing_to_resume(
  path, deleted, monkeypatch
):
  """A process killed there is the subject of `test_resuming`."""
  _claim(path)
  _fill(path)
  left = deleted

  def crash(delete):
    def maybe(*args, **kwargs):
      nonlocal left
      if not left:
        raise KeyboardInterrupt
      left -= 1
      return delete(*args, **kwargs)

    return maybe

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, 'unlink', crash(pathlib.Path.unlink))
    patch.setattr(shutil, 'rmtree', crash(shutil.rmtree))
    with pytest.raises(KeyboardInterrupt):
      _claim(path, OTHER, overwrite=True)
  # Whatever settings come next, the rest of the old run is not resumed.
  assert not _claim(path, SETTINGS, overwrite=bool(deleted % 2))
  assert set(contents(path)) == {'.lock', 'config.json'}
  assert _claim(path, SETTINGS)


def test_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
  path = tmp_path / 'results.json'
  files.write_text(path, 'old')

  def crash(_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(os, 'fsync', crash)
    with pytest.raises(KeyboardInterrupt):
      files.write_text(path, 'new')
  assert path.read_text() == 'old'
  files.write_text(path, 'ñew')
  assert path.read_text(encoding='utf-8') == 'ñew'
  assert set(contents(tmp_path)) == {'results.json'}
  with pytest.raises(
    errors.StorageError, match=f'^cannot write {tmp_path}/no/x: No such file'
  ):
    files.write_text(tmp_path / 'no' / 'x', 'new')
