"""The program as its users meet it: what it leaves, refuses and survives."""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
from typing import Any

import numpy as np
from PIL import Image
import pytest

from experiments import program as programs
from experiments import train
from experiments.configs import default
from experiments.training import checkpoints
from tests.experiments import program
from tests.experiments.data import small
from tests.experiments.program import Moment
from tests.experiments.program import TINY
from tests.experiments.reporting import test_tensorboard

ROOT = pathlib.Path(__file__).parents[2]
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
  with contextlib.closing(checkpoints.Checkpoints(saved)) as found:
    last, state, _ = found.restore()
  return last, {
    name: (x.dtype, x.shape, x.tobytes()) for name, x in state.items()
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
    'diagnostics': [p.read_text() for p in sorted(path.glob('diagnostics.*'))],
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
      for row in _rows(path)
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


def test_arms_are_trained_by_different_optimizers(finished):
  path, _ = finished
  losses = {(row['arm'], row['seed']): row['train_loss'] for row in _rows(path)}
  assert len(set(losses.values())) == 4


def test_finished_run_is_not_trained_again(finished):
  path, _ = finished
  before = _outcome(path)
  again = program.run(path.parent, *TINY, WORKDIR)
  assert again.code == 0
  for arm in ARMS:
    assert f'{arm}: finished before' in again.stdout
  assert 'epoch 3/3' not in again.stdout
  assert '± ' in again.stdout
  assert _outcome(path) == before


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
  rows = _rows(path)
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


def test_diverging_arm_does_not_change_the_others(finished, folder):
  path, _ = finished
  flags = (*TINY, WORKDIR, '--config.learning_rate=1e30,0.001')
  result = program.run(folder, *flags)
  assert (result.code, result.stderr) == (0, '')
  mine = folder / 'my run'
  results = _results(mine)
  assert results['sgd']['status'] == 'diverged'
  assert results['sgd']['diverged_seeds'] == [0, 1]
  assert results['sgd']['final_test_accuracy'] == [None, None]
  assert 'sgd: epoch 3/3, all diverged' in result.stdout
  assert re.search(r'│ sgd .* – .* diverged ', result.stdout)
  # Nothing of that is seen in the other arm.
  assert results['adam'] == _results(path)['adam']
  assert _state(mine, 'adam') == _state(path, 'adam')
  rows = {arm: [r for r in _rows(mine) if r['arm'] == arm] for arm in ARMS}
  assert rows['adam'] == [r for r in _rows(path) if r['arm'] == 'adam']
  assert {row['test_loss'] for row in rows['sgd']} == {'nan'}
  assert len(rows['sgd']) == 6
  assert 'NaN' not in (mine / 'metrics.jsonl').read_text()


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
    (['--config=missing.py'], "--config must .*No such file .*'missing.py'"),
    (['--config=missing.py', '--config.seeds=1'], 'No such file'),
    (['--config=.'], '--config must .*directory'),
    (['run'], 'unexpected arguments: run'),
    (
      ['--config.dataset=mnist', '--data_dir=data'],
      r"'mnist' is not prepared in data: run `python -m experiments.prepare "
      r'mnist --data_dir=data` first',
    ),
    (['--workdir=/dev/null/x'], '--workdir=/dev/null/x: /dev/null is not a'),
    (['--workdir=/proc/x'], '--workdir=/proc/x cannot be used: No such file'),
    (['--config.seeds=many'], '.*config.seeds'),
    (['--conf'], '.*conf'),
  ],
)
def test_wrong_flags_exit_with_one_line_and_write_nothing(
  folder, monkeypatch, flags, message
):
  tiny = () if flags[0].startswith('--config=') else TINY
  monkeypatch.chdir(folder)
  result = program.inside('train', *tiny, *flags)
  assert (result.code, result.stdout) == (1, '')
  (line,) = result.stderr.splitlines()
  assert re.match(f'error: .*{message}', line)
  assert not list(folder.iterdir())


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--config.epochs=2'], r'another run \(epochs: 3 there, 2 here\)'),
    (
      ['--config.epochs=4', '--config.schedule=cosine'],
      r'\(epochs: 3 there, 4 here; schedule: "constant" there, "cosine" here\)',
    ),
    (['--noresume'], 'holds this run already'),
  ],
)
def test_run_with_other_settings_is_refused(
  finished, monkeypatch, flags, message
):
  path, _ = finished
  before = _digest(path)
  monkeypatch.chdir(path.parent)
  result = program.inside('train', *TINY, WORKDIR, *flags)
  assert (result.code, result.stdout) == (1, '')
  assert re.match(f'error: --workdir=my run .*{message}', result.stderr)
  assert '--overwrite' in result.stderr
  assert _digest(path) == before


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
  found, expected = _outcome(mine), _outcome(folder / 'whole')
  assert found.pop('config')['checkpoint_every'] == 5
  expected.pop('config')
  assert found == expected
  for arm in ARMS:
    one, other = (
      test_tensorboard.read(path / 'tensorboard' / arm / 'seed1')
      for path in (mine, folder / 'whole')
    )
    assert one.keys() == other.keys()


@pytest.mark.parametrize(
  ('content', 'reason'),
  [
    ('', 'has no attribute'),
    ('def get_config(', 'SyntaxError'),
    ('raise RuntimeError("boom")', 'RuntimeError: boom'),
    ('def get_config():\n  raise KeyError("inner")', "KeyError: 'inner'"),
    ('def get_config():\n  return None', 'NoneType'),
    ('def get_config():\n  return [1, 2]', 'TypeError'),
    ('get_config = 3', "'int' object is not callable"),
  ],
)
def test_broken_configuration_file_exits_with_one_line(
  folder, monkeypatch, content, reason
):
  monkeypatch.chdir(folder)
  (folder / 'mine.py').write_text(content)
  result = program.inside('train', '--config=mine.py')
  assert (result.code, result.stdout) == (1, '')
  (line,) = result.stderr.splitlines()
  assert re.match(f'error: --config must name a Python file .*{reason}', line)


@pytest.mark.parametrize('flags', [(), ('--overwrite',)])
def test_directory_of_others_is_left_alone(folder, monkeypatch, flags):
  monkeypatch.chdir(folder)
  mine = folder / 'my run'
  (mine / 'checkpoints' / 'sgd').mkdir(parents=True)
  (mine / 'checkpoints' / 'sgd' / 'precious').write_text('weights')
  (mine / 'config.json').write_text('{"arms": "my own"}')
  before = _digest(mine)
  result = program.inside('train', *TINY, WORKDIR, *flags)
  assert (result.code, result.stdout) == (2, '')
  assert result.stderr == (
    'error: cannot read my run/config.json: we did not write it.\n'
  )
  assert _digest(mine) == before


# Interruptions.


def test_signal_saves_and_the_same_command_resumes(finished, folder):
  flags = (*TINY, WORKDIR, '--config.checkpoint_every=3')
  # When the metrics of the first epoch are written.
  at = Moment('os.rename', '.results.json.tmp', 2), signal.SIGHUP
  result = program.run(folder, *flags, at=at)
  assert (result.code, result.stderr) == (
    128 + signal.SIGHUP,
    'stopped and saved: sgd, after epoch 1 of 3. Run the same command to '
    'resume.\n',
  )
  mine = folder / 'my run'
  saved = {p.name for p in (mine / 'checkpoints' / 'sgd').iterdir()}
  assert saved == {'3'}
  assert _results(mine)['sgd']['epoch'] == 1
  assert _results(mine)['sgd']['status'] == 'running'
  again = program.run(folder, *flags)
  assert (again.code, again.stderr) == (0, '')
  assert 'sgd: resumes after epoch 1 of 3' in again.stdout
  found, expected = _outcome(mine), _outcome(finished[0])
  assert found['config'].pop('checkpoint_every') == 3
  assert expected['config'].pop('checkpoint_every') == 1
  assert found == expected


def test_signal_before_the_first_update_ends_the_run_at_once(folder):
  at = Moment('os.rename', '.results.json.tmp', 1), signal.SIGTERM
  result = program.run(folder, *TINY, WORKDIR, at=at)
  assert (result.code, result.stderr) == (-signal.SIGTERM, '')


def test_second_process_is_refused(finished, folder):
  mine = folder / 'my run'
  # It stops in the middle of the run, and holds the directory.
  stop = Moment('os.rename', '6.orbax-checkpoint-tmp'), signal.SIGSTOP
  with program.started(folder, *TINY, WORKDIR, at=stop) as first:
    first.wait_until(lambda: 'sgd: epoch 1/3' in first.stdout)
    second = program.run(folder, *TINY, WORKDIR, '--overwrite')
    assert (second.code, second.stdout) == (1, '')
    assert second.stderr == (
      'error: --workdir=my run is in use by another process; wait for it, or '
      'name another directory.\n'
    )
    first.send(signal.SIGCONT)
    result = first.wait()
  assert (result.code, result.stderr) == (0, '')
  assert _outcome(mine) == _outcome(finished[0])


@pytest.mark.parametrize(
  'moment',
  [
    # Between checkpoint and metrics, and between metrics and event.
    Moment('os.rename', '.metrics.csv.tmp', 4),
    pytest.param(
      Moment('open', 'metrics.jsonl.tmp', 6), marks=pytest.mark.slow
    ),
    pytest.param(Moment('open', '.curves.png.tmp'), marks=pytest.mark.slow),
  ],
)
def test_killed_run_ends_with_the_events_of_an_uninterrupted_one(
  finished, folder, moment
):
  flags = (*TINY, WORKDIR, '--config.tensorboard')
  killed = program.run(folder, *flags, at=(moment, signal.SIGKILL))
  assert killed.code == -signal.SIGKILL
  result = program.run(folder, *flags)
  assert (result.code, result.stderr) == (0, '')
  for row in _rows(folder / 'my run'):
    events = folder / 'my run' / 'tensorboard' / row['arm']
    (file,) = (events / f'seed{row["seed"]}').iterdir()
    scalars = test_tensorboard.read(file.parent)
    assert {step for _, step in scalars} == {1, 2, 3}
    for name in COLUMNS[4:]:
      tag = name.replace('_', '/', 1), int(row['epoch'])
      assert scalars[tag] == pytest.approx(float(row[name]))
  assert _rows(folder / 'my run') == _rows(finished[0])


def test_damaged_checkpoint_is_named_and_the_end_is_the_same(finished, folder):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  (path,) = (mine / 'checkpoints' / 'adam' / '9' / 'state' / 'd').iterdir()
  path.write_bytes(path.read_bytes()[:-3])
  result = program.run(folder, *TINY, WORKDIR)
  assert (result.code, result.stderr) == (0, '')
  assert re.search(
    r'adam: checkpoint 9 cannot be restored \(.*\), so checkpoint 6 is used',
    result.stdout,
  )
  assert 'adam: resumes after epoch 2 of 3' in result.stdout
  assert _outcome(mine) == _outcome(finished[0])


def test_run_without_a_readable_checkpoint_is_refused_unchanged(
  finished, folder, monkeypatch
):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  for number in ('6', '9'):
    shutil.rmtree(mine / 'checkpoints' / 'sgd' / number / 'history')
  before = _outcome(mine, ['adam'])
  monkeypatch.chdir(folder)
  result = program.inside('train', *TINY, WORKDIR)
  assert result.code == 1
  assert result.stderr.startswith('error: cannot read any checkpoint in ')
  assert '--overwrite' in result.stderr
  assert result.stderr.count('\n') == 1
  assert _outcome(mine, ['adam']) == before


@pytest.mark.slow
def test_full_disk_exits_with_one_line(finished, folder):
  """A limit on the size of files is a disk that any user can fill."""
  flags = (*TINY, WORKDIR, '--config.arms=sgd')
  assert program.run(folder, *flags).code == 0
  result = program.run(folder, *flags, file_size=15_000)
  assert (result.code, result.stderr) == (
    2,
    'error: cannot write my run/curves.png: File too large.\n',
  )
  assert not [*(folder / 'my run').rglob('*tmp*')]
  again = program.run(folder, *flags)
  assert (again.code, again.stderr) == (0, '')


# One after another, each where the last one left off. Of two arms and three
# epochs: whatever is written has a moment at which it is half done.
KILLED = (*TINY, '--config.arms=full,sgd')
MOMENTS = (
  Moment('open', '.config.json.tmp'),
  Moment('os.rename', '.results.json.tmp'),
  # In the middle of the first checkpoint.
  Moment('open', '.orbax-checkpoint-tmp/_METADATA'),
  Moment('os.rename', 'state.orbax-checkpoint-tmp'),
  # It is whole, but not in its place.
  Moment('os.rename', 'full/3.orbax-checkpoint-tmp'),
  # It is in its place, but the metrics are not. The first are those of before.
  Moment('open', '.metrics.csv.tmp', 2),
  Moment('os.rename', '.metrics.jsonl.tmp', 2),
  # An old checkpoint is half deleted.
  Moment('os.remove', 'manifest.ocdbt'),
  Moment('os.rename', 'sgd/6.orbax-checkpoint-tmp'),
  Moment('os.rename', '.results.json.tmp', 4),
  Moment('open', '.curves.png.tmp'),
)


@pytest.mark.slow
def test_killed_at_many_moments_it_ends_with_the_same_numbers(folder):
  options: dict[str, Any] = {'optimized': True}
  whole = program.run(folder, *KILLED, '--workdir=whole', **options)
  assert (whole.code, whole.stderr) == (0, '')
  mine, seen = folder / 'my run', []
  for moment in MOMENTS:
    at = moment, signal.SIGKILL
    killed = program.run(folder, *KILLED, WORKDIR, at=at, **options)
    assert killed.code == -signal.SIGKILL, moment
    seen.append(killed.stdout)
    for name in ('metrics.csv', 'results.json'):
      # What is there is whole at every moment.
      if (mine / name).exists():
        assert (mine / name).read_text().endswith('\n')
  for arm in ('full', 'sgd'):
    assert any(f'{arm}: resumes after epoch 1' in text for text in seen)
  # Once from outside, at no moment in particular.
  with program.started(folder, *KILLED, WORKDIR, **options) as process:
    process.wait_until(lambda: 'sgd: ' in process.stdout)
    process.send(signal.SIGKILL)
    assert process.wait().code in (-signal.SIGKILL, 0)
  last = program.run(folder, *KILLED, WORKDIR, **options)
  assert (last.code, last.stderr) == (0, '')
  arms = ('full', 'sgd')
  assert _outcome(mine, arms) == _outcome(folder / 'whole', arms)
  names = {path.name for path in (folder / 'whole').iterdir()}
  assert {path.name for path in mine.iterdir()} == names


@pytest.mark.parametrize(
  'moment',
  [
    pytest.param(Moment('open', '.config.json.tmp', 1), marks=pytest.mark.slow),
    Moment('os.remove', 'manifest.ocdbt'),
    pytest.param(Moment('os.remove', 'metrics.csv'), marks=pytest.mark.slow),
    pytest.param(
      Moment('os.rename', '.config.json.tmp', 2), marks=pytest.mark.slow
    ),
  ],
)
def test_killed_while_it_overwrites_nothing_of_the_old_run_stays(
  finished, folder, moment
):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  (mine / 'notes.txt').write_text('precious')
  other = (*TINY, WORKDIR, '--config.seed=5', '--config.arms=sgd')
  killed = program.run(
    folder, *other, '--overwrite', at=(moment, signal.SIGKILL)
  )
  assert killed.code == -signal.SIGKILL
  if moment == Moment('open', '.config.json.tmp', 1):  # Not begun yet.
    assert _outcome(mine) == _outcome(finished[0])
    again = program.run(folder, *other)
    assert (again.code, again.stdout) == (1, '')
    return
  again = program.run(folder, *other)
  assert (again.code, again.stderr) == (0, '')
  assert list(_results(mine)) == ['sgd']
  assert {row['seed'] for row in _rows(mine)} == {'5', '6'}
  assert [p.name for p in (mine / 'checkpoints').iterdir()] == ['sgd']
  assert (mine / 'notes.txt').read_text() == 'precious'


# Devices, data sets and the command itself.


@pytest.mark.slow
def test_four_devices_end_as_one_does_also_after_a_kill(folder):
  # As many as do not go round.
  flags = (*TINY, '--config.arms=sgdm', '--config.seeds=5')
  options: dict[str, Any] = {'optimized': True}
  assert program.run(folder, *flags, '--workdir=one', **options).code == 0
  options['devices'] = 4
  flags += ('--workdir=four',)
  at = Moment('os.rename', '6.orbax-checkpoint-tmp'), signal.SIGKILL
  killed = program.run(folder, *flags, at=at, **options)
  assert killed.code == -signal.SIGKILL
  result = program.run(folder, *flags, **options)
  assert (result.code, result.stderr) == (0, '')
  assert 'sgdm: resumes after epoch 1' in result.stdout
  one, four = (_outcome(folder / name, ('sgdm',)) for name in ('one', 'four'))
  assert four == one


def _job(folder, *flags, at=None):
  """Two processes of two devices each; `at` is the first one's."""
  flags = (
    *(*flags, '--num_processes=2'),
    f'--coordinator_address=localhost:{program.free_port()}',
  )
  options: dict[str, Any] = {'devices': 2, 'optimized': True}
  with (
    program.started(folder, *flags, '--process_id=0', at=at, **options) as one,
    program.started(folder, *flags, '--process_id=1', **options) as other,
  ):
    return one.wait(), other.wait()


@pytest.mark.slow
def test_two_processes_end_as_one_does_also_when_one_was_killed(folder):
  # Of three replicas on four devices; the arm is one with diagnostics.
  flags = (*TINY, '--config.arms=gradient_only', '--config.seeds=3')
  options: dict[str, Any] = {'optimized': True}
  assert program.run(folder, *flags, '--workdir=one', **options).code == 0
  flags = (*flags, '--workdir=two')
  at = Moment('os.rename', '6.orbax-checkpoint-tmp'), signal.SIGKILL
  killed, left = _job(folder, *flags, at=at)
  assert killed.code == -signal.SIGKILL
  # It may notice by itself, or be ended by JAX.
  assert left.code not in (0, None)
  assert 'epoch' not in left.stdout
  first, second = _job(folder, *flags)
  assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
  assert 'gradient_only: resumes after epoch 1' in first.stdout
  assert 'epoch' not in second.stdout
  one, two = (
    _outcome(folder / name, ('gradient_only',)) for name in ('one', 'two')
  )
  assert two == one
  # A directory that is refused ends both.
  first, second = _job(folder, *flags, '--config.seed=7')
  assert (first.code, second.code) == (1, 1)
  assert 'another run (seed: 0 there, 7 here)' in first.stderr
  assert 'the first process could not go on' in second.stderr


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--num_processes=2'], r'--coordinator_address is missing: .* together'),
    (
      [
        *('--num_processes=2', '--process_id=2'),
        '--coordinator_address=localhost:1',
      ],
      r'--process_id must be from 0 to 1, .* got 2',
    ),
    *(
      (
        [
          *('--num_processes=2', '--process_id=0'),
          f'--coordinator_address={address}',
        ],
        f"--coordinator_address must be host:port, .* got '{address}'",
      )
      for address in ('nonsense', 'localhost:port', 'localhost:65536', ':80')
    ),
  ],
)
def test_wrong_job_flags_exit_with_one_line(flags, message):
  result = program.inside('train', *TINY, *flags)
  assert result.code == 1
  assert re.search(f'^error: {message}', result.stderr)


@pytest.mark.slow
def test_cifar10_with_resnet18_also_after_a_kill(folder):
  """Of noise; what is augmented and normalised has to come back."""
  small.prepare('cifar10', folder / 'data', train=2, test=2, classes=2)
  flags = (
    '--data_dir=data',
    *('--config.dataset=cifar10', '--config.arms=sgdm', '--config.epochs=2'),
    *('--config.seeds=1', '--config.batch_size=2'),
  )
  options: dict[str, Any] = {'optimized': True}
  whole = program.run(folder, *flags, '--workdir=whole', **options)
  assert whole.code == 0, whole.stderr
  moment = Moment('os.rename', 'sgdm/4.orbax-checkpoint-tmp')
  at = moment, signal.SIGKILL
  resumed = (*flags, '--workdir=resumed')
  killed = program.run(folder, *resumed, at=at, **options)
  assert killed.code == -signal.SIGKILL
  assert program.run(folder, *resumed, **options).code == 0
  outcome = _outcome(folder / 'whole', ('sgdm',))
  assert _outcome(folder / 'resumed', ('sgdm',)) == outcome
  assert outcome['config']['model'] == 'resnet18'
  _, state = outcome['states']['sgdm']
  statistics = {k: x for k, x in state.items() if k.startswith('batch_stats')}
  assert len(statistics) == 40
  for name, (dtype, _, data) in statistics.items():
    values = np.frombuffer(data, dtype)
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


def test_default_workdir_tells_settings_apart():
  config = {**default.get_config(), 'dataset': 'synthetic:4x4x1:3:20:10'}
  names = [
    train.default_workdir(default.Config.resolve({**config, **changed}))
    for changed in ({}, {'seed': 1}, {'checkpoint_every': 9})
  ]
  assert names[0] == names[2] != names[1]
  for path in names:
    assert re.fullmatch(
      r'runs/synthetic_4x4x1_3_20_10-mlp-[0-9a-f]{8}', str(path)
    )


def test_a_workdir_may_lie_at_home():
  home = pathlib.Path('~').expanduser()
  assert programs.folder('workdir', '~/über all') == home / 'über all'
