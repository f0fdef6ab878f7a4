"""Files of strangers run nothing, fetch nothing, and write nowhere else.

`BUILD.md` lists the threats, and the test that holds each.
"""

import ast
import pathlib
import pickle
import subprocess

import pytest

from experiments import data
from experiments import train
from experiments.configs import default
from tests.experiments import auditing
from tests.experiments import program
from tests.experiments import test_strangers
from tests.experiments.data import small

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted(
  path
  for package in ('experiments', 'neuroplastic_optax')
  for path in (ROOT / package).rglob('*.py')
)
folder = test_strangers.folder
# Modules and functions that run what they are given.
MODULES = {'pickle', 'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve'}
FUNCTIONS = {
  *('eval', 'exec', '__import__', 'os.system', 'os.popen', 'yaml.load'),
  *('yaml.unsafe_load', 'archive.extractall', 'archive.extract'),
  *('tarfile.extractall', 'shutil.unpack_archive', 'np.fromregex'),
}


def test_the_sources_run_nothing_that_they_read():
  assert len(SOURCES) > 200
  for path in SOURCES:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import | ast.ImportFrom):
        names = {alias.name.partition('.')[0] for alias in node.names}
        module = getattr(node, 'module', None) or ''
        assert not MODULES & {*names, module.partition('.')[0]}, path
      if isinstance(node, ast.Call):
        assert ast.unparse(node.func) not in FUNCTIONS, (path, node.lineno)
        for keyword in node.keywords:
          if keyword.arg in ('allow_pickle', 'shell'):
            value = ast.unparse(keyword.value)
            assert value == 'False', (path, node.lineno)


@pytest.mark.parametrize('name', test_strangers.READERS)
def test_reading_runs_and_fetches_nothing_and_writes_nowhere_else(folder, name):
  reader = test_strangers.READERS[name]
  folder.mkdir()
  reader.make(folder)
  reader.use(folder)  # What is imported at its first use.
  with auditing.heard() as events:
    reader.use(folder)
  names = {event for event, _ in events}
  assert not names & (auditing.RUNS | auditing.ASKS), events
  allowed = (str(folder), str(folder.parent / 'mine'), '/dev/null', '/tmp/tmp')
  for path in auditing.written(events):
    assert path.startswith(allowed), path


@pytest.mark.parametrize(
  'command',
  [
    ('train', '--config.dataset=mnist', '--data_dir=data'),
    ('study', 'cifar10', '--data_dir=data'),
    ('prepare', 'mnist', '--idx_dir=originals', '--data_dir=data'),
    ('report', 'nowhere'),
  ],
)
def test_nothing_is_fetched_that_nobody_asked_for(
  tmp_path, monkeypatch, command
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'originals').mkdir()
  small.write_mnist(tmp_path / 'originals', *small.noise('mnist', 12), train=6)
  with auditing.heard() as events:
    result = program.inside(*command)
  assert result.code in (1, 2)
  assert not {event for event, _ in events} & auditing.ASKS, events
  assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize(
  'name', [*data.NAMES, 'synthetic:4x4x1', 'synthetic:4x4x1:3:20:10']
)
def test_a_run_has_a_folder_below_runs(name):
  config = default.Config.resolve({**default.get_config(), 'dataset': name})
  path = train.default_workdir(config)
  assert path.parent == pathlib.Path('runs')
  assert path.name not in ('', '.', '..')


def test_what_matters_is_heard(tmp_path):
  with auditing.heard() as events:
    pickle.loads(pickle.dumps(pathlib.Path))
    (tmp_path / 'new').write_text('')
    subprocess.run(['true'], check=True)
  assert {'pickle.find_class', 'subprocess.Popen'} <= {x for x, _ in events}
  assert str(tmp_path / 'new') in auditing.written(events)
