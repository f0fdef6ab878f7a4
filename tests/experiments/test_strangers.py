"""Every file that the programs read, as a stranger may have left it.

Each is refused in one sentence, taken for missing or damaged, or is what it
should be; there is no other end, and what is there stays as it was.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import json
import os
import pathlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from experiments import checksums
from experiments import errors
from experiments.data import originals
from experiments.data import preparing
from experiments.data import published
from experiments.reporting import tables
from experiments.reporting.page import state
from experiments.studies import options
from experiments.studies import reading
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.studies.cells import Store
from experiments.studies.declarations import Condition
from experiments.studies.declarations import DEFAULT
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.studies.declarations import Tuning
from experiments.studies.directory import StudyDirectory
from experiments.training import checkpoints
from experiments.training import provenance
from experiments.training import records
from experiments.training import run_directory
from experiments.training import session
from experiments.training import trials
from tests.experiments import strangers
from tests.experiments.data import small
from tests.experiments.reporting import directories

TASK = Task('digits', 'mlp')
STUDY = Study(
  'strange',
  ('full', 'adamw'),
  (Condition('here', TASK, tuned_on='here'),),
  Tuning({'here': TASK}, ('full', 'adamw')),
  seeds=2,
)
STREAM = Study(
  'strange stream',
  ('full', 'adamw'),
  (
    Condition(
      'here',
      dataclasses.replace(on_stream('split', 'digits'), tasks=2),
      rulesets=(DEFAULT,),
    ),
  ),
  seeds=2,
)
CELL = Cell(TASK, 'sgd', ({'learning_rate': 0.1},), (0, 1), tests=True)
STATE = {'w': jnp.arange(3.0), 'count': jnp.int32(3)}


@dataclasses.dataclass(frozen=True)
class Reader:
  """What reads some files.

  Attributes:
    make: puts them into a folder.
    use: reads them, and uses what it read.
    only: which of the files, by how their paths end; all by default.
    sums: whether there are checksums, which strangers can make, too.
  """

  make: Callable[[pathlib.Path], Any]
  use: Callable[[pathlib.Path], Any]
  only: tuple[str, ...] = ('',)
  sums: bool = False

  def files(self, folder):
    """The files that it reads."""
    return sorted(
      path
      for path in folder.rglob('*')
      if path.is_file() and path.name.endswith(self.only)
    )


def _report(folder):
  study = reading.read(folder)
  list(state.sentences(study))
  state.provenance(study)
  for make in tables.TABLES.values():
    if table := make(study):
      table.markdown()


def _study(folder):
  options.reused([str(folder)])
  StudyDirectory(folder, STUDY, ('full',), smoke=False)


SETTINGS = {'seeds': 2, 'arms': ['sgd']}


def _run(folder):
  opened = run_directory.opened(folder, SETTINGS, resume=True, overwrite=False)
  with opened:
    provenance.begin(folder)
    provenance.end(folder)


def _make_run(folder):
  _run(folder)
  _run(folder)


def _save(folder):
  with contextlib.closing(checkpoints.Checkpoints(folder)) as saved:
    history = records.History(2)
    history.append(**dict.fromkeys(records.METRICS, 0.5))
    saved.save(1, STATE, history)


def _restore(folder):
  with contextlib.closing(checkpoints.Checkpoints(folder)) as saved:
    number = saved.latest()
    history = saved.history(number)
    history.diverged()
    history.to_json()
    saved.state(number, jax.eval_shape(lambda: STATE))


def _put(folder):
  curves = {'validation_accuracy': [[0.5, 0.6]] * 2, 'train_loss': [[1.0]] * 2}
  outcome = Outcome(curves, [0.5, 0.5], [False, True], 3, [0.1, 0.1], 1.0)
  Store(folder).put(CELL, outcome)


def _get(folder):
  store = Store(folder.parent / 'mine', [folder])
  if outcome := store.get(CELL):
    outcome.scores(2)
  Store(folder).stale()


def _originals(name):
  def use(folder):
    try:
      files, contents = preparing._in_folder(
        published.PUBLISHED[name], str(folder)
      )
      files.read(contents)
    except originals.OriginalFileError as e:  # As `preparing.prepare` does.
      raise preparing.PrepareError(f'cannot use {e}') from e

  return use


def _load(folder):
  published.load('mnist', str(folder))


def _prepare(folder):
  small.prepare('mnist', folder)


def _decode(folder):
  _prepare(folder)
  for path in folder.rglob('*.npz'):
    path.unlink()


def _mnist(folder):
  small.write_mnist(folder, *small.noise('mnist', 12), train=6)


def _cifar10(folder):
  path = folder / 'cifar-10-binary.tar.gz'
  small.write_cifar10(path, *small.noise('cifar10', 12), train=6)


def _pictures(folder):
  small.write_cifar10_pictures(folder, *small.noise('cifar10', 12), train=6)


READERS = {
  'report': Reader(
    lambda folder: directories.write(folder / 'x', STUDY),
    lambda folder: _report(folder / 'x'),
  ),
  'streams': Reader(
    lambda folder: directories.write(folder / 'x', STREAM),
    lambda folder: _report(folder / 'x'),
    only=('streams.csv', 'measures.csv', 'evaluations.csv'),
  ),
  'study': Reader(
    lambda folder: directories.write(folder / 'x', STUDY),
    lambda folder: _study(folder / 'x'),
    only=('study.json',),
  ),
  'run': Reader(_make_run, _run, only=('.json',)),
  'checkpoints': Reader(_save, _restore, only=('arm', 'metadata'), sums=True),
  'cells': Reader(_put, _get, only=('.json',), sums=True),
  'mnist': Reader(
    _mnist,
    _originals('mnist'),
    only=('t10k-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'),
  ),
  'cifar10': Reader(_cifar10, _originals('cifar10')),
  'pictures': Reader(
    _pictures, _originals('cifar10'), only=('1.png', 'train_lables.json')
  ),
  'prepared': Reader(_decode, _load, only=('.json', '-of-00001')),
  'decoded': Reader(_prepare, _load, only=('.npz',)),
}


def _contents(folder):
  return {
    path: path.is_file() and path.read_bytes() for path in folder.rglob('*')
  }


def _attempt(reader, folder, what):
  """Uses what is there, and says how that ended."""
  if reader.sums:
    for path in [*folder.rglob(checksums.FILE)]:
      with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        checksums.write(path.parent)
  before = _contents(folder)
  message = _refusal(lambda: reader.use(folder))
  if message is None:
    return 'used'
  assert message, what
  assert '\n' not in message, (what, message)
  assert _contents(folder) == before, what
  return 'refused'


def _refusal(function):
  """What a program says if this is all that it does; None for nothing."""
  try:
    function()
  except errors.UserError as e:
    return str(e)
  except OSError as e:
    return e.strerror  # See `program._main`.
  return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
  # What is executed by mistake would leave something here.
  (tmp_path / 'here').mkdir()
  monkeypatch.chdir(tmp_path / 'here')
  monkeypatch.setattr(provenance, '_commit', lambda: None)  # It takes a while.
  yield tmp_path / 'files'
  assert os.listdir(tmp_path / 'here') == []


@pytest.mark.parametrize('name', READERS)
def test_whatever_is_there_instead_of_a_file(folder, name):
  reader = READERS[name]
  folder.mkdir()
  reader.make(folder)
  assert _attempt(reader, folder, 'whole') == 'used'
  files = reader.files(folder)
  assert files
  for path in files:
    if path.name != checksums.FILE:
      for what in strangers.spoil(path):
        _attempt(reader, folder, (path.name, what))
  assert _attempt(reader, folder, 'whole again') == 'used'


_JSON = (
  *(('report', 'study.json'), ('study', 'study.json'), ('run', 'config.json')),
  *(('run', 'provenance.json'), ('cells', 'outcome.json')),
  *(('cells', 'cell.json'), ('checkpoints', 'metadata')),
  *(('prepared', 'dataset_info.json'), ('prepared', 'features.json')),
)


@pytest.mark.parametrize(('name', 'file'), _JSON)
def test_whatever_a_json_file_says_instead(folder, name, file):
  reader = READERS[name]
  folder.mkdir()
  reader.make(folder)
  (path,) = folder.rglob(file)
  for what, value in strangers.mutated(json.loads(path.read_text())):
    path.write_text(json.dumps(value))
    _attempt(reader, folder, what)


@pytest.mark.parametrize('name', ['report', 'streams'])
def test_whatever_a_cell_of_a_table_says_instead(folder, name):
  reader = READERS[name]
  folder.mkdir()
  reader.make(folder)
  for path in (x for x in reader.files(folder) if x.suffix == '.csv'):
    text = path.read_text()
    for what, changed in strangers.tables(text):
      path.write_text(changed)
      _attempt(reader, folder, (path.name, what))
    path.write_text(text)


def test_checksums_of_files_elsewhere_are_not_made(tmp_path):
  (tmp_path / 'secret').write_text('x')
  folder = tmp_path / 'folder'
  folder.mkdir()
  digest = checksums.of_file(tmp_path / 'secret')
  for name in ('../secret', str(tmp_path / 'secret'), 'a/../../secret', '\0'):
    body = f'{digest}  {name}\n'.encode()
    head = checksums._digest(body)
    (folder / checksums.FILE).write_bytes(head + body)
    assert checksums.FILE in (checksums.fault(folder) or ''), name


@pytest.mark.parametrize(
  'history', [records.History(3), records.History(2, ('test_loss',))]
)
def test_metrics_of_other_trials_are_refused_before_anything_is_made(
  tmp_path, history
):
  folder = tmp_path / 'sgd'
  with contextlib.closing(checkpoints.Checkpoints(folder)) as saved:
    history.append(**dict.fromkeys(history.names, 0.5))
    saved.save(1, STATE, history)
    trainer: Any = types.SimpleNamespace(
      metrics=records.METRICS, steps=lambda trials: 1
    )
    numbers = jnp.zeros((2, 1), jnp.int32)
    found = trials.Trial(jnp.arange(2, dtype='uint32'), {}, numbers, numbers)
    with pytest.raises(errors.StorageError, match='metrics of another run'):
      session.Session(trainer, found, None, saved)
