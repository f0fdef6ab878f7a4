"""Runs of streams: their files, and that they survive interruptions."""

import json
import signal

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from tests.experiments import outcomes
from tests.experiments import program
from tests.experiments.program import Moment
from tests.experiments.program import WORKDIR

pytestmark = pytest.mark.slow

TINY = (*program.STREAM, '--config.checkpoint_every=1')
MEASURES = (
  *('online_loss', 'online_accuracy', 'plasticity', 'dead_units'),
  *('effective_rank', 'weight_norm', 'train_seconds'),
)
OF_SPLITS = (
  *('average_accuracy', 'backward_transfer', 'forgetting'),
  *('min_accuracy', 'worst_case_accuracy'),
)


def test_metrics_have_a_row_for_each_task_and_measure(finished):
  path, _ = finished
  rows = pd.read_csv(path / 'metrics.csv')
  assert [*rows] == ['arm', 'seed', 'task', 'measure', 'value']
  expected = []
  for arm in ('sgd', 'adam'):
    for seed in (0, 1):
      first = [*MEASURES, 'average_accuracy', 'worst_case_accuracy']
      expected += [(arm, seed, 1, name) for name in first]
      expected += [(arm, seed, 2, name) for name in (*MEASURES, *OF_SPLITS)]
  assert [*rows.iloc[:, :4].itertuples(index=False, name=None)] == expected
  assert np.isfinite(rows['value']).all()
  shares = rows['measure'].str.contains('accuracy|plasticity|dead_units')
  assert rows['value'][shares].between(0, 1).all()
  lines = pd.read_json(path / 'metrics.jsonl', lines=True, precise_float=True)
  pd.testing.assert_frame_equal(lines, rows, check_dtype=False)


def test_every_evaluation_of_a_split_is_recorded(finished):
  path, _ = finished
  rows = pd.read_csv(path / 'evaluations.csv')
  assert len(rows) == 2 * 2 * 2 * 2 * 2
  assert {*rows['update']} == {10, 12}
  assert {*rows['evaluated_task']} == {1, 2}
  # There are six test images of each task.
  hits = 6 * rows['accuracy']
  np.testing.assert_allclose(hits, hits.round(), atol=1e-6)
  # The measures are made of the last ones.
  last = rows[(rows['task'] == 2) & (rows['update'] == 12)]
  metrics = pd.read_csv(path / 'metrics.csv')
  average = metrics[
    (metrics['task'] == 2) & (metrics['measure'] == 'average_accuracy')
  ]
  by = ['arm', 'seed']
  pd.testing.assert_series_equal(
    last.groupby(by)['accuracy'].mean(),
    average.set_index(by)['value'].sort_index(),
    check_names=False,
  )


def test_results_are_means_over_tasks(finished):
  path, _ = finished
  results = json.loads((path / 'results.json').read_text())
  assert list(results) == ['sgd', 'adam']
  rows = pd.read_csv(path / 'metrics.csv')
  online = rows[rows['measure'] == 'online_accuracy'].pivot(
    index=['arm', 'seed'], columns='task', values='value'
  )
  for arm, result in results.items():
    assert (result['status'], result['task'], result['tasks']) == (
      *('finished', 2, 2),
    )
    values = online.loc[arm].to_numpy()
    for name, expected in (
      ('online_accuracy', np.mean(values, 1)),
      ('online_accuracy_first_tenth', values[:, 0]),
      ('online_accuracy_last_tenth', values[:, 1]),
    ):
      found = result['measures'][name]
      np.testing.assert_allclose(found['values'], expected)
      assert found['mean'] == pytest.approx(expected.mean())
      assert found['sd'] == pytest.approx(expected.std(ddof=1))
    assert set(OF_SPLITS) < set(result['measures'])


def test_run_directory_has_tables_and_pictures(finished):
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


KILLED = (
  Moment('open', '.config.json.tmp'),
  Moment('os.rename', '.results.json.tmp'),
  Moment('os.rename', 'state.orbax-checkpoint-tmp'),
  Moment('os.rename', '.evaluations.csv.tmp'),
  Moment('open', '.metrics.csv.tmp', 2),
  Moment('open', '.forgetting.png.tmp'),
)


@pytest.mark.slow
def test_killed_run_ends_as_if_never_killed(finished, folder):
  flags = (*TINY, WORKDIR)
  for moment in KILLED:
    killed = program.run(folder, *flags, at=(moment, signal.SIGKILL))
    assert killed.code == -signal.SIGKILL, moment
  last = program.run(folder, *flags)
  assert (last.code, last.stderr) == (0, '')
  assert outcomes.of(folder / 'my run') == outcomes.of(finished[0])
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
def test_grid_adds_a_column_of_its_hyperparameter(folder):
  result = program.run(
    folder,
    *TINY,
    WORKDIR,
    '--config.arms=sgd',
    "--config.trials={'learning_rate': [0.1, 0.2]}",
  )
  assert (result.code, result.stderr) == (0, '')
  rows = pd.read_csv(folder / 'my run' / 'metrics.csv')
  assert [*rows][3:] == ['learning_rate', 'measure', 'value']
  assert {*rows['learning_rate']} == {0.1, 0.2}
