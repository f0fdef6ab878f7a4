"""Hostile files run nothing, fetch nothing, and write nowhere else.

That pages escape names is a test of `reporting`; that only what is ours is
deleted, one of `test_workdir`; archives, one of `data`. Ruff refuses sources
that call what runs what it reads.
"""

import contextlib
import io

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import errors
from experiments import files
from experiments import workdir
from experiments.studies import loading
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.studies.cells import Store
from experiments.studies.declarations import Task
from experiments.training import checkpoints
from experiments.training import provenance
from experiments.training import records
from tests.experiments import auditing
from tests.experiments import program
from tests.experiments.data import small
from tests.experiments.reporting import directories


def _arrays():
  buffer = io.BytesIO()
  np.savez(buffer, allow_pickle=True, x=np.array([print], object))
  return buffer.getvalue()


CONTENTS = {
  'a pickle': b'cos\nsystem\n(S"touch hacked"\ntR.',
  'arrays with a pickle': _arrays(),
  'nothing': b'',
  'text': b'Dear Sir or Madam,\n',
  'noise': np.random.default_rng(0).bytes(500),
  'deep JSON': b'[' * 100_000,
  'a list': b'[]',
  'an object': b'{}',
  'a formula': b'=cmd|calc,ruleset\n"__import__(\'os\')",1\n',
}
TASK = Task('digits', 'mlp')
CELL = Cell(TASK, 'sgd', ({'learning_rate': 0.1},), (0, 1), tests=True)


def _run(folder):
  claim = workdir.Workdir(folder, 'run', 'train', 'config.json', 2).claimed(
    {'seeds': 2}, ['metrics.csv'], resume=True, overwrite=False
  )
  with claim:
    provenance.begin(folder)


def _save(folder):
  with contextlib.closing(checkpoints.Checkpoints(folder)) as saved:
    history = records.History(2)
    history.append(**dict.fromkeys(records.METRICS, 0.5))
    saved.save(1, {'w': jnp.arange(3.0)}, history)


def _restore(folder):
  with contextlib.closing(checkpoints.Checkpoints(folder)) as saved:
    saved.restore()


def _put(folder):
  curves = {'validation_accuracy': [[0.5, 0.6]] * 2, 'train_loss': [[1.0]] * 2}
  outcome = Outcome(curves, [0.5, 0.5], [False, True], 3, 1.0)
  Store(folder).put(CELL, outcome)


# What makes a folder of files, what reads them, and some of the files.
READERS = {
  'run': (_run, _run, ['config.json', 'provenance.json']),
  'checkpoints': (_save, _restore, ['metadata', '_METADATA', '*.ocdbt']),
  'cells': (_put, lambda folder: Store(folder).get(CELL), ['outcome.json']),
  'study': (
    lambda folder: directories.write(
      folder / 'x', arms=('full', 'adamw'), seeds=2
    ),
    lambda folder: loading.load(folder / 'x'),
    ['study.json', 'results.csv'],
  ),
}


def _refusal(use, folder):
  """The sentence of a program that does this; empty if it is none."""
  try:
    use(folder)
  except errors.UserError as e:
    return str(e)
  return ''


@pytest.mark.parametrize('name', READERS)
def test_hostile_files_run_nothing_and_are_refused_with_one_line(
  tmp_path, monkeypatch, name
):
  make, use, names = READERS[name]
  folder, here = tmp_path / 'files', tmp_path / 'here'
  for each in (folder, here):
    each.mkdir()
  monkeypatch.chdir(here)
  monkeypatch.setattr(provenance, '_commit', lambda: None)  # It runs git.
  with auditing.heard() as events:
    make(folder)
  assert any(x.startswith(str(folder)) for x in auditing.written(events))
  use(folder)  # What is imported at its first use.
  for path in {x for each in names for x in folder.rglob(each)}:
    content = path.read_bytes()
    for what, other in CONTENTS.items():
      path.write_bytes(other)
      with auditing.heard() as events:
        said = _refusal(use, folder)
      assert '\n' not in said, (path, what)
      assert said == '' or str(folder) in said, (path, what)
      heard = {event for event, _ in events}
      assert not heard & (auditing.RUNS | auditing.ASKS), (path, what)
      for written in auditing.written(events):
        assert written.startswith((str(folder), '/dev/null')), (path, what)
    files.remove(path)
    path.write_bytes(content)
  assert list(here.iterdir()) == []


@pytest.mark.parametrize(
  'command',
  [
    ('train', '--config.dataset=mnist', '--data_dir=data'),
    ('study', 'cifar10', '--data_dir=data'),
    ('prepare', 'mnist', '--idx_dir=originals', '--data_dir=data'),
    ('report', 'nowhere'),
  ],
)
def test_nothing_is_fetched_without_being_asked_for(
  tmp_path, monkeypatch, command
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'originals').mkdir()
  small.write_mnist(tmp_path / 'originals', *small.noise('mnist', 12), train=6)
  with auditing.heard() as events:
    result = program.inside(*command)
  assert result.code == 1
  assert not {event for event, _ in events} & auditing.ASKS, events
  assert not (tmp_path / 'data').exists()
