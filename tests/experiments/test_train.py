"""The program as its users meet it: what it leaves, refuses and survives."""

import csv
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from experiments import data
from experiments import train
from experiments.configs import default
from tests.experiments import outcomes
from tests.experiments import program
from tests.experiments.data import small
from tests.experiments.program import TINY
from tests.experiments.program import WORKDIR
from tests.experiments.reporting import test_tensorboard

ROOT = pathlib.Path(__file__).parents[2]
ARMS = ('sgd', 'adam')
COLUMNS = [
  *('arm', 'seed', 'epoch', 'step'),
  *('train_loss', 'train_accuracy', 'test_loss', 'test_accuracy'),
]


# What a run leaves.


def test_metrics_have_a_row_for_each_arm_seed_and_epoch(finished):
  path, _ = finished
  with (path / 'metrics.csv').open() as file:
    reader = csv.DictReader(file)
    rows = list(reader)
  assert reader.fieldnames[:8] == COLUMNS
  assert all(name.endswith('_seconds') for name in reader.fieldnames[8:])
  assert [(r['arm'], r['seed'], r['epoch'], r['step']) for r in rows] == [
    (arm, seed, epoch, step)
    for arm in ARMS
    for seed in ('0', '1')
    for epoch, step in (('1', '2'), ('2', '4'), ('3', '6'))
  ]
  numbers = [
    [float(row[name]) for name in reader.fieldnames[4:]] for row in rows
  ]
  assert np.isfinite(numbers).all()
  # Read back to the last bit.
  lines = map(json.loads, (path / 'metrics.jsonl').read_text().splitlines())
  names = reader.fieldnames[4:]
  assert [[x[name] for name in names] for x in lines] == numbers
  # The arms and the seeds differ.
  assert len({row['train_loss'] for row in rows[::3]}) == 4
  # Twenty training examples, ten test examples.
  for row in rows:
    for name, count in (('train_accuracy', 20), ('test_accuracy', 10)):
      hits = float(row[name]) * count
      assert 0 <= hits <= count
      assert hits == pytest.approx(round(hits), abs=1e-4)


def test_results_are_those_of_the_last_epoch(finished):
  path, _ = finished
  results = json.loads((path / 'results.json').read_text())
  assert list(results) == list(ARMS)
  for arm, result in results.items():
    final = [
      float(row['test_accuracy'])
      for row in outcomes.rows(path / 'metrics.csv')
      if row['arm'] == arm and row['epoch'] == '3'
    ]
    assert result['final_test_accuracy'] == final
    assert result['mean'] == pytest.approx(np.mean(final))
    assert result['sd'] == pytest.approx(np.std(final, ddof=1))
    assert result['status'] == 'finished'
    assert result['seeds'] == [0, 1]
    assert result['learning_rate'] == {'sgd': 0.1, 'adam': 1e-3}[arm]


def test_run_directory_holds_these_files(finished):
  path, _ = finished
  config = json.loads((path / 'config.json').read_text())
  assert config['dataset'] == 'synthetic:4x4x1:3:20:10'
  assert config['arms'] == list(ARMS)
  assert config['model'] == 'mlp'
  assert config['learning_rate'] == [0.1, 1e-3]
  with Image.open(path / 'curves.png') as picture:
    picture.verify()
    assert picture.format == 'PNG'
  assert {p.name for p in path.iterdir()} == {
    *('.lock', 'config.json', 'checkpoints', 'curves.png'),
    *('metrics.csv', 'metrics.jsonl', 'provenance.json', 'results.json'),
  }
  for arm in ARMS:
    saved = {p.name for p in (path / 'checkpoints' / arm).iterdir()}
    # Numbered by updates and evaluations, two and one an epoch.
    assert saved == {'6', '9'}


def test_progress_and_a_table_are_printed(finished):
  path, result = finished
  lines = result.stdout.splitlines()
  assert lines[0].endswith('3 epochs, batch 12, 2 seeds → my run')
  for arm in ARMS:
    for epoch in (1, 2, 3):
      assert any(f'{arm}: epoch {epoch}/3, train loss' in x for x in lines)
    (row,) = [line for line in lines if line.startswith(f'│ {arm} ')]
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    found = json.loads((path / 'results.json').read_text())[arm]
    mean, sd = 100 * found['mean'], 100 * found['sd']
    assert cells[3] == f'{mean:.2f} ± {sd:.2f} %'
    assert cells[-1] == 'finished'
  assert lines[-1].startswith('metrics, results, curves.png')
  assert lines[-1].endswith(' are in my run')


def test_finished_run_is_not_trained_again(finished):
  path, _ = finished
  before = outcomes.of(path)
  again = program.run(path.parent, *TINY, WORKDIR)
  assert again.code == 0
  for arm in ARMS:
    assert f'{arm}: finished before' in again.stdout
  assert 'epoch 3/3' not in again.stdout
  assert '± ' in again.stdout
  assert outcomes.of(path) == before


@pytest.mark.slow
def test_configuration_file_sets_everything(folder):
  """One seed, tuples and floats, a subset with noise, cosine, events."""
  file = folder / 'mine.py'
  file.write_text(
    'from experiments.configs import default\n'
    'def get_config(name):\n'
    '  config = default.get_config()\n'
    '  config.arms = ("sgdm",)\n'
    '  config.learning_rate = 0.25\n'
    '  config.dataset = name\n'
    '  config.label_noise = 0.25\n'
    '  config.schedule = "cosine"\n'
    '  config.tensorboard = True\n'
    '  config.seed = 7\n'
    '  config.batch_size = 1000\n'
    '  return config\n'
  )
  result = program.run(
    folder,
    '--config=mine.py:synthetic:4x4x1:3:20:10',
    *('--config.seeds=1', '--config.epochs=4', '--config.fraction=0.5'),
  )
  assert (result.code, result.stderr) == (0, '')
  (path,) = (folder / 'runs').iterdir()
  (row,) = [x for x in result.stdout.splitlines() if x.startswith('│ sgdm ')]
  accuracy = json.loads((path / 'results.json').read_text())['sgdm']['mean']
  assert f' {100 * accuracy:.2f} % │' in row
  assert '±' not in row
  config = json.loads((path / 'config.json').read_text())
  assert config['arms'] == ['sgdm']
  assert config['learning_rate'] == [0.25]
  assert config['label_noise'] == 0.25
  rows = outcomes.rows(path / 'metrics.csv')
  # Half of the twenty examples, 4 + 4 + 3 by class, in one step.
  assert [(row['seed'], row['step']) for row in rows] == [
    ('7', str(step)) for step in (1, 2, 3, 4)
  ]
  hits = np.array([11 * float(row['train_accuracy']) for row in rows])
  np.testing.assert_allclose(hits, np.round(hits), atol=1e-4)
  scalars = test_tensorboard.read(path / 'tensorboard' / 'sgdm' / 'seed7')
  for row in rows:
    for name in COLUMNS[4:]:
      tag = name.replace('_', '/', 1)
      assert scalars[tag, int(row['epoch'])] == pytest.approx(float(row[name]))


@pytest.mark.slow
def test_diverging_arm_does_not_change_the_others(finished, folder):
  path, _ = finished
  flags = (*TINY, WORKDIR, '--config.learning_rate=1e30,0.001')
  result = program.run(folder, *flags)
  assert (result.code, result.stderr) == (0, '')
  mine, whole = outcomes.of(folder / 'my run'), outcomes.of(path)
  results = mine['results.json']
  assert results['sgd']['status'] == 'diverged'
  assert results['sgd']['diverged_seeds'] == [0, 1]
  assert results['sgd']['final_test_accuracy'] == [None, None]
  assert 'sgd: epoch 3/3, all diverged' in result.stdout
  assert re.search(r'│ sgd .* – .* diverged ', result.stdout)
  # Nothing of that is seen in the other arm.
  assert results['adam'] == whole['results.json']['adam']
  assert mine['adam'] == whole['adam']
  rows = mine['metrics.csv']
  assert rows[6:] == whole['metrics.csv'][6:]
  assert [row['test_loss'] for row in rows[:6]] == ['nan'] * 6
  assert [x['test_loss'] for x in mine['metrics.jsonl'][:6]] == [None] * 6


# Wrong usage.


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--config.epochs=2'], r'another run \(epochs: 3 there, 2 here\)'),
    (['--noresume'], 'holds this run already'),
  ],
)
def test_run_with_other_settings_is_refused(
  finished, monkeypatch, flags, message
):
  path, _ = finished
  before = program.contents(path)
  monkeypatch.chdir(path.parent)
  result = program.inside('train', *TINY, WORKDIR, *flags)
  assert (result.code, result.stdout) == (1, '')
  assert re.match(f'error: --workdir=my run .*{message}', result.stderr)
  assert '--overwrite' in result.stderr
  assert program.contents(path) == before


@pytest.mark.slow
def test_settings_that_do_not_change_results_may_change(finished, folder):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  more = (*TINY, '--config.epochs=4', '--config.tensorboard')
  changed = (*more, '--config.checkpoint_every=5')
  resumed = program.run(folder, *changed, WORKDIR)
  assert (resumed.code, resumed.stderr) == (0, '')
  assert 'sgd: resumes after epoch 3 of 4' in resumed.stdout
  assert program.run(folder, *more, '--workdir=whole').code == 0
  config = json.loads((mine / 'config.json').read_text())
  assert config['checkpoint_every'] == 5
  assert outcomes.of(mine) == outcomes.of(folder / 'whole')
  for arm in ARMS:
    one, other = (
      test_tensorboard.read(path / 'tensorboard' / arm / 'seed1')
      for path in (mine, folder / 'whole')
    )
    assert one.keys() == other.keys()


@pytest.mark.slow
def test_cifar10_with_resnet18_moves_its_batch_statistics(folder):
  small.prepare('cifar10', folder / 'data', train=2, test=2, classes=2)
  flags = (
    *('--data_dir=data', '--workdir=run'),
    *('--config.dataset=cifar10', '--config.arms=sgdm', '--config.epochs=2'),
    *('--config.seeds=1', '--config.batch_size=2'),
  )
  result = program.run(folder, *flags)
  assert (result.code, result.stderr) == (0, '')
  outcome = outcomes.of(folder / 'run')
  assert outcome['config.json']['model'] == 'resnet18'
  _, state = outcome['sgdm']
  statistics = {k: x for k, x in state.items() if k.startswith('batch_stats')}
  assert len(statistics) == 40
  for name, (dtype, _, array) in statistics.items():
    values = np.frombuffer(array, dtype)
    assert np.isfinite(values).all()
    # Means start at 0, variances at 1.
    assert (values != float('var' in name)).all(), name


@pytest.mark.slow
def test_with_no_flags_both_arms_learn_the_digits(tmp_path):
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.train'],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''},
    capture_output=True,
    text=True,
    check=False,
  )
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert (done.returncode, done.stderr) == (0, '')
  # A minute on two cores cannot be more work than this.
  assert after.ru_utime - before.ru_utime < 120
  (path,) = (tmp_path / 'runs').iterdir()
  assert path.name.startswith('digits-mlp-')
  results = json.loads((path / 'results.json').read_text())
  assert list(results) == ['full', 'gradient_only']
  for arm, result in results.items():
    assert result['seeds'] == [0, 1, 2, 3, 4]
    assert min(result['final_test_accuracy']) > 0.95
    assert f'{arm}: epoch 20/20' in done.stdout
    mean, sd = 100 * result['mean'], 100 * result['sd']
    assert f'{mean:.2f} ± {sd:.2f} %' in done.stdout
  assert (path / 'curves.png').exists()


@pytest.mark.parametrize('dataset', [*data.NAMES, 'synthetic:4x4x1:3:20:10'])
def test_default_workdir_lies_below_runs_and_tells_settings_apart(dataset):
  config = {**default.get_config(), 'dataset': dataset}
  names = [
    train.default_workdir(default.Config.resolve({**config, **changed}))
    for changed in ({}, {'seed': 1}, {'checkpoint_every': 9})
  ]
  assert names[0] == names[2] != names[1]
  for path in names:
    start = f'runs/{dataset.replace(":", "_")}-'
    assert re.fullmatch(f'{start}(mlp|resnet18)-[0-9a-f]{{8}}', str(path))


def test_tilde_of_a_workdir_is_the_home_directory(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'file').touch()
  result = program.inside('train', *TINY, '--workdir=~/file')
  assert result.code == 1
  assert f'{tmp_path}/file is not a directory' in result.stderr
