"""The program as its users meet it: what it leaves, refuses and survives."""

import csv
import hashlib
import io
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
from PIL import Image
import pytest

from experiments import datasets
from experiments import train
from experiments.configs import default
from tests.experiments import program
from tests.experiments import test_events
from tests.experiments.program import Moment
from tests.experiments.program import TINY

ARMS = ('sgd', 'adam')
WORKDIR = '--workdir=my run'
COLUMNS = [
  *('arm', 'seed', 'epoch', 'step'),
  *('train_loss', 'train_accuracy', 'test_loss', 'test_accuracy'),
]


def _rows(path):
  """The metrics, without the times."""
  with (path / 'metrics.csv').open() as file:
    return [
      {k: v for k, v in row.items() if not k.endswith('_seconds')}
      for row in csv.DictReader(file)
    ]


def _results(path):
  results = json.loads((path / 'results.json').read_text())
  for result in results.values():
    del result['epoch_train_seconds']
  return results


def _state(path, arm):
  """Every array of the last checkpoint, to the last bit."""
  saved = path / 'checkpoints' / arm
  last = max(int(p.name) for p in saved.iterdir())
  with ocp.StandardCheckpointer() as checkpointer:
    state = checkpointer.restore(saved.absolute() / str(last) / 'state')
  return last, {
    name: (x.dtype, x.shape, np.asarray(x).tobytes())
    for name, x in state.items()
  }


def _outcome(path, arms=ARMS):
  """All that must not depend on whether a run was interrupted."""
  return {
    'rows': _rows(path),
    'jsonl': [
      {k: v for k, v in json.loads(line).items() if not k.endswith('_seconds')}
      for line in (path / 'metrics.jsonl').read_text().splitlines()
    ],
    'results': _results(path),
    'config': json.loads((path / 'config.json').read_text()),
    'states': {arm: _state(path, arm) for arm in arms},
  }


def _digest(path):
  """Of every file below a path, when it was written and what it holds."""
  return {
    str(p.relative_to(path)): (
      p.stat().st_mtime_ns,
      hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None,
    )
    for p in path.rglob('*')
  }


@pytest.fixture(name='folder')
def _folder(tmp_path_factory):
  """Beside it lie the output and what was compiled, for all tests."""
  return tmp_path_factory.mktemp('folder')


@pytest.fixture(name='finished', scope='module')
def _finished(tmp_path_factory):
  """A run that nothing disturbed: its directory, and how it ended."""
  folder = tmp_path_factory.mktemp('finished')
  result = program.run(folder, *TINY, WORKDIR)
  assert (result.code, result.stderr) == (0, '')
  return folder / 'my run', result


# What a run leaves.


def test_the_metrics_have_a_row_for_each_arm_seed_and_epoch(finished):
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
  numbers = [[float(row[name]) for name in reader.fieldnames[4:]] for row in rows]
  assert np.isfinite(numbers).all()
  # Twenty training examples, ten test examples.
  for row in rows:
    for name, count in (('train_accuracy', 20), ('test_accuracy', 10)):
      hits = float(row[name]) * count
      assert 0 <= hits <= count
      assert hits == pytest.approx(round(hits), abs=1e-4)


def test_the_results_are_those_of_the_last_epoch(finished):
  path, _ = finished
  results = json.loads((path / 'results.json').read_text())
  assert list(results) == list(ARMS)
  for arm, result in results.items():
    final = [
      float(row['test_accuracy'])
      for row in _rows(path)
      if row['arm'] == arm and row['epoch'] == '3'
    ]
    assert result['final_test_accuracy'] == final
    assert result['mean'] == pytest.approx(np.mean(final))
    assert result['sd'] == pytest.approx(np.std(final, ddof=1))
    assert result['status'] == 'finished'
    assert result['seeds'] == [0, 1]
    assert result['learning_rate'] == {'sgd': 0.1, 'adam': 1e-3}[arm]


def test_the_rest_of_the_run_directory(finished):
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
    *('metrics.csv', 'metrics.jsonl', 'results.json'),
  }
  for arm in ARMS:
    saved = {p.name for p in (path / 'checkpoints' / arm).iterdir()}
    assert saved == {'2', '3'}


def test_progress_and_a_table_are_shown(finished):
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
  assert lines[-1] == 'metrics, results and curves.png are in my run'


def test_arms_start_from_the_same_parameters_and_go_apart(finished):
  path, _ = finished
  first = {
    (row['arm'], row['seed']): row for row in _rows(path) if row['epoch'] == '1'
  }
  for seed in ('0', '1'):
    one, other = first['sgd', seed], first['adam', seed]
    assert one['train_loss'] != other['train_loss']
  states = {arm: _state(path, arm)[1] for arm in ARMS}
  assert states['sgd']['params.head.kernel'] != (
    states['adam']['params.head.kernel']
  )


def test_a_finished_run_is_finished_again_at_once(finished):
  path, _ = finished
  before = _outcome(path)
  again = program.run(path.parent, *TINY, WORKDIR)
  assert again.code == 0
  assert 'sgd: finished before' in again.stdout
  assert 'adam: finished before' in again.stdout
  assert 'epoch 3/3' not in again.stdout
  assert '± ' in again.stdout
  assert _outcome(path) == before


def test_everything_at_once_from_a_configuration_file(folder):
  """One seed, tuples and floats, a subset with noise, cosine, events."""
  file = folder / 'mine.py'
  file.write_text(
    'from experiments.configs import default\n'
    'def get_config(name):\n'
    '  config = default.get_config()\n'
    '  with config.unlocked():\n'
    '    config.arms = ("sgdm",)\n'
    '    config.learning_rate = 0.25\n'
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
  assert f'│ {100 * accuracy:.2f} % │' in row
  assert '±' not in row
  config = json.loads((path / 'config.json').read_text())
  assert config['arms'] == ['sgdm']
  assert config['learning_rate'] == [0.25]
  assert config['label_noise'] == 0.25
  rows = _rows(path)
  # Ten of the twenty examples, in one step.
  assert [(row['seed'], row['step']) for row in rows] == [
    ('7', '1'), ('7', '2'), ('7', '3'), ('7', '4')
  ]
  assert {round(10 * float(row['train_accuracy']), 3) % 1 for row in rows} == {0}
  scalars = test_events.read(path / 'tensorboard' / 'sgdm' / 'seed7')
  for row in rows:
    for name in COLUMNS[4:]:
      tag = name.replace('_', '/', 1)
      assert scalars[tag, int(row['epoch'])] == pytest.approx(float(row[name]))


def test_a_diverging_arm_is_told_and_the_others_go_on(finished, folder):
  path, _ = finished
  result = program.run(
    folder, *TINY, WORKDIR, '--config.learning_rate=1e30,0.001'
  )
  assert (result.code, result.stderr) == (0, '')
  mine = folder / 'my run'
  results = _results(mine)
  assert results['sgd']['status'] == 'diverged'
  assert results['sgd']['diverged_seeds'] == [0, 1]
  assert results['sgd']['final_test_accuracy'] == [None, None]
  assert results['adam'] == _results(path)['adam']
  assert 'sgd: epoch 3/3, all diverged' in result.stdout
  assert 'diverged' in result.stdout.splitlines()[-8]
  assert _state(mine, 'adam') == _state(path, 'adam')
  rows = {arm: [r for r in _rows(mine) if r['arm'] == arm] for arm in ARMS}
  assert rows['adam'] == [r for r in _rows(path) if r['arm'] == 'adam']
  assert len(rows['sgd']) == 6
  # It is as finished as any other.
  again = program.run(
    folder, *TINY, WORKDIR, '--config.learning_rate=1e30,0.001'
  )
  assert 'sgd: finished before' in again.stdout
  assert _results(mine) == results


# Wrong usage.


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--config.arms=nonsense'], "got 'nonsense'"),
    (['--config.arms='], 'config.arms must be'),
    (['--config.seeds=0'], 'config.seeds must be an integer ≥ 1, got 0'),
    (['--config.learning_rate=0.1,x'], "config.learning_rate .* got '0.1,x'"),
    (['--config.fraction=0'], r'config.fraction must be .* \(0, 1\], got 0'),
    (['--config.foo=1'], 'config.foo is not a setting'),
    (['--config.foo=bar'], 'config.foo is not a setting'),
    (['--config.dataset=nope'], 'config.dataset must be one of digits'),
    (['--config.dataset=digits:5'], 'must be one of digits'),
    (['--config.dataset=synthetic:5'], 'synthetic.*HxWxC'),
    (['--config.dataset=synthetic:2x2x1', '--config.model=cnn'], 'at least 4'),
    (['--config=missing.py'], "--config: .*No such file .*'missing.py'"),
    (['--config=missing.py', '--config.seeds=1'], 'No such file'),
    (['--config=.'], '--config: .*directory'),
    (['run'], 'unexpected arguments: run'),
    (
      ['--config.dataset=mnist', '--data_dir=data'],
      r"'mnist' is not prepared in data: run `python -m experiments.prepare "
      r'mnist --data_dir=data` first',
    ),
    (['--workdir=/dev/null'], '/dev/null is not a directory'),
    (['--workdir=/dev/null/x'], '/dev/null/x cannot be used: Not a directory'),
    (['--workdir=/proc/x'], '/proc/x cannot be used: No such file'),
    (['--workdir=runs[1]'], r'runs\[1\] has a \[ in its name'),
  ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
  folder, flags, message
):
  tiny = TINY if '--config=' not in flags[0] else ()
  if any('workdir' in flag for flag in flags):
    flags = [*tiny, *flags]
  result = program.run(folder, *flags)
  assert result.code == 1
  assert result.stdout == ''
  (line,) = result.stderr.splitlines()
  assert line.startswith('error: ')
  np.testing.assert_regex = None
  assert not list(folder.iterdir())
