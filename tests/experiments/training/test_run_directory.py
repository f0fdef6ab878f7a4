"""A run directory is claimed, resumed, overwritten, and otherwise let alone."""

import json
import os
import pathlib
import shutil

import pytest

from experiments import files
from experiments.training import run_directory

SETTINGS = {'dataset': 'digits', 'arms': ['sgd'], 'rate': (0.1, 0.2)}
OTHER = SETTINGS | {'dataset': 'mnist'}
# What a run leaves, whole or half written.
FILES = (
  'checkpoints/sgd/1/state/x',
  'curves.png',
  'metrics.csv',
  'metrics.jsonl',
  'results.json',
  'tensorboard/sgd/seed0/events',
  '.metrics.csv.tmp',
)


@pytest.fixture(name='path')
def _path(tmp_path):
  return tmp_path / 'a run' / 'of mine'


def _open(path, settings=SETTINGS, *, resume=True, overwrite=False):
  return run_directory.opened(
    path, settings, resume=resume, overwrite=overwrite
  )


def _claim(path, *args, **kwargs):
  with _open(path, *args, **kwargs) as going_on:
    return going_on


def _fill(path, files=FILES):
  for name in files:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(name)


def _tree(path):
  """Every file and folder below a path, and what the files hold."""
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob('*')
  }


def test_a_new_directory_is_made_with_its_parents(path):
  assert not _claim(path)
  config = json.loads((path / 'config.json').read_text())
  assert config.items() >= {**SETTINGS, 'rate': [0.1, 0.2]}.items()
  assert 'experiments.train' in config['program']


@pytest.mark.parametrize('left', [(), ('.lock',), ('.config.json.tmp',)])
def test_an_empty_directory_is_as_good(path, left):
  path.mkdir(parents=True)
  _fill(path, left)
  assert not _claim(path)


def test_the_same_settings_go_on_with_what_is_there(path):
  _claim(path)
  _fill(path)
  before = _tree(path)
  assert _claim(path)
  assert _claim(path)
  assert _tree(path) == before


@pytest.mark.parametrize('resume', [True, False])
def test_other_settings_are_refused_with_the_difference(path, resume):
  _claim(path)
  _fill(path)
  before = _tree(path)
  other = OTHER | {'new': 1}
  del other['arms']
  with pytest.raises(run_directory.RunDirectoryError) as info:
    _claim(path, other, resume=resume)
  assert str(info.value).startswith(f'--workdir={path} holds a run with other')
  assert (
    "(arms: ['sgd'] there, None here; dataset: 'digits' there, 'mnist' here; "
    'new: None there, 1 here)'
  ) in str(info.value)
  assert '--overwrite' in str(info.value)
  assert _tree(path) == before


def test_a_setting_that_may_change_is_taken_over(path):
  _claim(path)
  seen = []

  def may_resume(name, there):
    seen.append((name, there))
    return name == 'dataset'

  with run_directory.opened(
    path, OTHER, resume=True, overwrite=False, may_resume=may_resume
  ) as going_on:
    assert going_on
  assert seen == [('dataset', 'digits')]
  assert json.loads((path / 'config.json').read_text())['dataset'] == 'mnist'
  assert _claim(path, OTHER)
  with (
    pytest.raises(run_directory.RunDirectoryError, match=r'\(rate: [^;]*\)'),
    run_directory.opened(
      path,
      SETTINGS | {'rate': 1},
      resume=True,
      overwrite=False,
      may_resume=may_resume,
    ),
  ):
    pass


def test_noresume_refuses_a_run_and_takes_anything_else(path):
  assert not _claim(path, resume=False)
  before = _tree(path)
  with pytest.raises(run_directory.RunDirectoryError, match='holds this run'):
    _claim(path, resume=False)
  assert _tree(path) == before


@pytest.mark.parametrize('settings', [SETTINGS, OTHER])
@pytest.mark.parametrize('resume', [True, False])
def test_overwrite_deletes_what_a_run_writes_and_no_more(
  path, settings, resume
):
  _claim(path)
  _fill(path)
  _fill(path, ['notes.txt', 'plots/curves.png', '.mine.tmp', 'metrics.csv~'])
  assert not _claim(path, settings, resume=resume, overwrite=True)
  left = _tree(path)
  config = json.loads(left.pop('config.json'))
  assert config['dataset'] == settings['dataset']
  assert left == {
    '.lock': b'',
    '.mine.tmp': b'.mine.tmp',
    'metrics.csv~': b'metrics.csv~',
    'notes.txt': b'notes.txt',
    'plots': None,
    'plots/curves.png': b'plots/curves.png',
  }


def test_overwrite_does_not_follow_links(path, tmp_path):
  _claim(path)
  _fill(tmp_path / 'elsewhere', ['precious'])
  (path / 'checkpoints').symlink_to(tmp_path / 'elsewhere')
  (path / 'metrics.csv').symlink_to(tmp_path / 'elsewhere' / 'precious')
  assert not _claim(path, overwrite=True)
  assert (tmp_path / 'elsewhere' / 'precious').read_text() == 'precious'
  assert not (path / 'checkpoints').exists()


@pytest.mark.parametrize('overwrite', [True, False])
def test_overwrite_of_nothing_is_a_start(path, overwrite):
  assert not _claim(path, overwrite=overwrite)
  assert _claim(path)


@pytest.mark.parametrize(
  'files',
  [
    {'thesis.tex': ''},
    {'checkpoints/step_100/weights': ''},
    {'checkpoints/step_100/weights': '', 'config.json': '{"model": "bert"}'},
    {'metrics.csv': 'step,loss'},
    {'results.json': '{}'},
    {'config.json': '{"dataset": "digits", "arms": ["sgd"], "epochs": 5}'},
    {'config.json': '{}'},
    {'config.json': '[]'},
    {'config.json': 'not json'},
    {'config.json': b'\xff\xfe'},
    {'config.json/inner': ''},
    {'.secret.tmp': ''},
    {'.lock': '', 'metrics.csv': ''},
  ],
)
@pytest.mark.parametrize('overwrite', [True, False])
def test_what_others_made_is_refused_and_not_touched(path, files, overwrite):
  path.mkdir(parents=True)
  for name, content in files.items():
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    (path / name).write_bytes(data)
  before = _tree(path)
  with pytest.raises(run_directory.RunDirectoryError, match='--workdir='):
    _claim(path, overwrite=overwrite)
  assert _tree(path) == before


def test_a_file_is_no_directory(path):
  path.parent.mkdir()
  path.write_text('mine')
  with pytest.raises(run_directory.RunDirectoryError, match='not a directory'):
    _claim(path, overwrite=True)
  assert path.read_text() == 'mine'
  with pytest.raises(
    run_directory.RunDirectoryError, match=f'{path}/x cannot be used: Not a dir'
  ):
    _claim(path / 'x')


def test_what_the_system_refuses_is_one_sentence(path, monkeypatch):
  def refuse(*_, **__):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'mkdir', refuse)
  with pytest.raises(
    run_directory.RunDirectoryError,
    match=f'^--workdir={path} cannot be used: Permission denied.$',
  ):
    _claim(path)


def test_a_bracket_would_hide_the_checkpoints(path):
  with pytest.raises(run_directory.RunDirectoryError, match=r'has a \[ in'):
    _claim(path / 'run[1]')
  assert not path.exists()


@pytest.mark.parametrize('overwrite', [True, False])
def test_a_directory_in_use_is_refused_until_it_is_let_go(path, overwrite):
  with _open(path):
    _fill(path)
    before = _tree(path)
    with pytest.raises(run_directory.RunDirectoryError, match='is in use by'):
      _claim(path, overwrite=overwrite)
    assert _tree(path) == before
  assert _claim(path)


def test_it_is_let_go_after_an_error_too(path):
  with pytest.raises(KeyError), _open(path):
    raise KeyError
  assert _claim(path)


@pytest.mark.parametrize('deleted', range(1 + len(FILES)))
@pytest.mark.parametrize('overwrite', [True, False])
def test_a_crash_while_overwriting_leaves_no_run(
  path, deleted, overwrite, monkeypatch
):
  """A process killed there is the subject of `test_train`."""
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
  # Whatever settings come next, the rest of the old run is not taken for it.
  assert not _claim(path, SETTINGS, overwrite=overwrite)
  assert set(_tree(path)) == {'.lock', 'config.json'}
  assert _claim(path, SETTINGS)


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
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
  assert set(_tree(tmp_path)) == {'results.json'}
