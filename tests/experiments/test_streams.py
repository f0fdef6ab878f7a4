"""Streams as their users meet them: what is left, and what is survived."""

import csv
import json
import signal

import numpy as np
import orbax.checkpoint as ocp
from PIL import Image
import pytest

from tests.experiments import program
from tests.experiments.program import Moment

# The smallest of everything: 2 tasks of 12 updates, evaluated twice.
TINY = (
  '--config.dataset=synthetic:4x4x1:4:40:12',
  '--config.stream=split',
  '--config.tasks=2',
  '--config.updates=12',
  '--config.batch_size=8',
  '--config.model=mlp_small',
  '--config.arms=sgd,adam',
  '--config.seeds=2',
  '--config.checkpoint_every=1',
)
WORKDIR = '--workdir=my run'
MEASURES = (
  *('online_loss', 'online_accuracy', 'plasticity', 'dead_units'),
  *('effective_rank', 'weight_norm', 'train_seconds'),
)
OF_SPLITS = (
  *('average_accuracy', 'backward_transfer', 'forgetting'),
  *('min_accuracy', 'worst_case_accuracy'),
)


def _table(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def _outcome(path, arms=('sgd', 'adam')):
  """All that must not depend on whether a run was interrupted."""
  results = json.loads((path / 'results.json').read_text())
  for result in results.values():
    del result['task_train_seconds']
  states = {}
  for arm in arms:
    saved = path / 'checkpoints' / arm
    last = max(int(p.name) for p in saved.iterdir())
    with ocp.StandardCheckpointer() as checkpointer:
      state = checkpointer.restore(saved.absolute() / str(last) / 'state')
    states[arm] = last, {k: np.asarray(x).tobytes() for k, x in state.items()}
  return {
    'metrics': [
      row
      for row in _table(path / 'metrics.csv')
      if not row['measure'].endswith('_seconds')
    ],
    'evaluations': (path / 'evaluations.csv').read_text(),
    'diagnostics': [p.read_text() for p in sorted(path.glob('diagnostics.*'))],
    'results': results,
    'states': states,
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


def test_the_metrics_have_a_row_for_each_task_and_measure(finished):
  path, _ = finished
  rows = _table(path / 'metrics.csv')
  assert list(rows[0]) == ['arm', 'seed', 'task', 'measure', 'value']
  expected = []
  for arm in ('sgd', 'adam'):
    for seed in ('0', '1'):
      first = [*MEASURES, 'average_accuracy', 'worst_case_accuracy']
      expected += [(arm, seed, '1', name) for name in first]
      expected += [(arm, seed, '2', name) for name in (*MEASURES, *OF_SPLITS)]
  found = [tuple(row[k] for k in list(row)[:4]) for row in rows]
  assert found == expected
  assert np.isfinite([float(row['value']) for row in rows]).all()
  for row in rows:
    if 'accuracy' in row['measure'] or row['measure'] in MEASURES[2:4]:
      assert 0 <= float(row['value']) <= 1
  lines = (path / 'metrics.jsonl').read_text().splitlines()
  for line, row in zip(lines, rows, strict=True):
    assert {k: str(v) for k, v in json.loads(line).items()} == row


def test_every_evaluation_of_a_split_is_recorded(finished):
  path, _ = finished
  rows = _table(path / 'evaluations.csv')
  assert len(rows) == 2 * 2 * 2 * 2 * 2
  assert {row['update'] for row in rows} == {'10', '12'}
  assert {row['evaluated_task'] for row in rows} == {'1', '2'}
  # Six test images of each task.
  for row in rows:
    hits = 6 * float(row['accuracy'])
    assert hits == pytest.approx(round(hits))
  # The last ones are what the measures are made of.
  metrics = _table(path / 'metrics.csv')
  for arm in ('sgd', 'adam'):
    last = [
      float(row['accuracy'])
      for row in rows
      if (row['arm'], row['seed'], row['task'], row['update'])
      == (arm, '1', '2', '12')
    ]
    (average,) = [
      float(row['value'])
      for row in metrics
      if (row['arm'], row['seed'], row['task'], row['measure'])
      == (arm, '1', '2', 'average_accuracy')
    ]
    assert average == pytest.approx(np.mean(last))


def test_the_results_sum_up_the_tasks(finished):
  path, _ = finished
  results = json.loads((path / 'results.json').read_text())
  assert list(results) == ['sgd', 'adam']
  rows = _table(path / 'metrics.csv')
  for arm, result in results.items():
    assert (result['status'], result['task'], result['tasks']) == (
      *('finished', 2, 2),
    )
    values = [
      [
        float(row['value'])
        for row in rows
        if (row['arm'], row['seed'], row['measure'])
        == (arm, seed, 'online_accuracy')
      ]
      for seed in '01'
    ]
    for name, expected in (
      ('online_accuracy', np.mean(values, 1)),
      ('online_accuracy_first_tenth', np.array(values)[:, 0]),
      ('online_accuracy_last_tenth', np.array(values)[:, 1]),
    ):
      found = result['measures'][name]
      np.testing.assert_allclose(found['values'], expected)
      assert found['mean'] == pytest.approx(expected.mean())
      assert found['sd'] == pytest.approx(expected.std(ddof=1))
    assert set(OF_SPLITS) < set(result['measures'])


def test_the_run_directory_has_tables_and_pictures(finished):
  path, result = finished
  assert {p.name for p in path.iterdir()} == {
    *('.lock', 'config.json', 'checkpoints', 'evaluations.csv'),
    *('first_task.png', 'forgetting.png', 'stream.png'),
    *('metrics.csv', 'metrics.jsonl'),
    *('provenance.json', 'results.json'),
  }
  for name in ('stream.png', 'forgetting.png', 'first_task.png'):
    with Image.open(path / name) as picture:
      picture.verify()
  assert result.stdout.startswith(
    'split, synthetic:4x4x1:4:40:12, mlp_small: 2 tasks of 12 updates, batch 8'
  )
  assert 'adam: task 2/2, online loss' in result.stdout
  assert 'stream.png, forgetting.png, first_task.png are in' in result.stdout


def test_a_finished_run_is_finished_again_at_once(finished):
  path, _ = finished
  before = _outcome(path)
  again = program.run(path.parent, *TINY, WORKDIR)
  assert again.code == 0
  assert 'adam: finished before' in again.stdout
  assert _outcome(path) == before


@pytest.mark.parametrize(
  ('number', 'count'),
  [
    (signal.SIGTERM, 2),
    pytest.param(signal.SIGINT, 5, marks=pytest.mark.slow),
  ],
)
def test_a_stopped_run_saves_and_resumes(finished, folder, number, count):
  at = Moment('os.rename', '.results.json.tmp', count), number
  # No other checkpoint comes before the last task.
  flags = (*TINY, WORKDIR, '--config.checkpoint_every=2')
  result = program.run(folder, *flags, at=at)
  assert result.code == 128 + number
  assert 'after task 1 of 2' in result.stderr
  again = program.run(folder, *flags)
  assert (again.code, again.stderr) == (0, '')
  assert _outcome(folder / 'my run') == _outcome(finished[0])


KILLED = (
  Moment('open', '.config.json.tmp'),
  Moment('os.rename', '.results.json.tmp'),
  Moment('os.rename', 'state.orbax-checkpoint-tmp'),
  Moment('os.rename', '.evaluations.csv.tmp'),
  Moment('open', '.metrics.csv.tmp', 2),
  Moment('open', '.forgetting.png.tmp'),
)


@pytest.mark.slow
def test_killed_at_some_moments_it_ends_as_if_never_killed(finished, folder):
  flags = (*TINY, WORKDIR)
  for moment in KILLED:
    killed = program.run(folder, *flags, at=(moment, signal.SIGKILL))
    assert killed.code == -signal.SIGKILL, moment
  last = program.run(folder, *flags)
  assert (last.code, last.stderr) == (0, '')
  assert _outcome(folder / 'my run') == _outcome(finished[0])
  assert {p.name for p in (folder / 'my run').iterdir()} == {
    p.name for p in finished[0].iterdir()
  }


@pytest.mark.slow
@pytest.mark.parametrize(
  ('stream', 'more'),
  [
    ('permuted_inputs', ('--config.arms=full', '--config.tensorboard')),
    ('random_labels', ('--config.arms=schedule_free', '--config.updates=30')),
    ('split_heads', ('--config.arms=sgd', '--config.updates=20')),
  ],
)
def test_streams_run_on_the_digits(folder, stream, more):
  result = program.run(
    folder,
    f'--config.stream={stream}',
    f'--config.tasks={5 if "split" in stream else 3}',
    *('--config.seeds=1', WORKDIR, *more),
  )
  assert (result.code, result.stderr) == (0, '')
  path = folder / 'my run'
  results = json.loads((path / 'results.json').read_text())
  ((arm, found),) = results.items()
  assert found['status'] == 'finished'
  online = found['measures']['online_accuracy']['mean']
  assert online > {'random_labels': 0.05}.get(stream, 0.4)
  assert (path / 'evaluations.csv').exists() == (stream == 'split_heads')
  assert (path / 'diagnostics' / f'{arm}.png').exists() == (arm == 'full')


@pytest.mark.slow
def test_a_grid_has_its_numbers_in_the_rows(folder):
  result = program.run(
    folder,
    *TINY,
    WORKDIR,
    '--config.arms=sgd',
    "--config.trials={'learning_rate': [0.1, 0.2]}",
  )
  assert (result.code, result.stderr) == (0, '')
  rows = _table(folder / 'my run' / 'metrics.csv')
  assert list(rows[0])[3:] == ['learning_rate', 'measure', 'value']
  assert {row['learning_rate'] for row in rows} == {'0.1', '0.2'}


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (('--config.tasks=3',), 'config.tasks must be 2, which divide the 4'),
    (('--config.model=resnet18',), 'config.model must be one with features'),
    (('--config.epochs=3',), 'config.epochs must be left out'),
    (('--config.label_noise=0.1',), 'config.label_noise must be 0 with'),
    (
      ('--config.stream=permuted_labels', f'--config.updates={2**30}'),
      'config.tasks must be at most 1 with 1073741824 updates each',
    ),
  ],
)
def test_wrong_fields_are_refused_before_any_work(folder, flags, message):
  result = program.run(folder, *TINY, WORKDIR, *flags)
  assert result.code == 1
  assert result.stderr.startswith(f'error: {message}')
  assert len(result.stderr.splitlines()) == 1
  assert not (folder / 'my run').exists()
