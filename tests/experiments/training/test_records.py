"""Metrics are kept to the last bit, and the files say what they should."""

import csv
import json

import numpy as np
import pytest

from experiments.training import records

NAN, INF = float('nan'), float('inf')
SEEDS = [7, 8, 9]
COLUMNS = [
  *('arm', 'seed', 'epoch', 'step'),
  *('train_loss', 'train_accuracy', 'test_loss', 'test_accuracy'),
  *('train_seconds', 'test_seconds'),
]


def _history(epochs=2, **changes):
  """Metrics that differ by replica and epoch; `changes` are of the last one."""
  history = records.History(3)
  for epoch in range(epochs):
    metrics = {
      'train_loss': [1 / (epoch + 1), 0.1, 0.2],
      'train_accuracy': [0.25, 0.5, 1 / 3],
      'test_loss': [2.0, 3.0, 4.0 + epoch],
      'test_accuracy': [0.5 + 0.1 * epoch, 0.7, 0.9],
      'train_seconds': 0.5 + epoch,
      'test_seconds': 0.25,
    }
    if epoch == epochs - 1:
      metrics |= changes
    history.append(**metrics)
  return history


def _rows(history, arm='sgd'):
  return list(records.rows(arm, history, SEEDS, 10))


def test_a_history_grows_by_an_epoch():
  history = records.History(3)
  assert history.epochs == 0
  assert not history.diverged().any()
  history = _history(2)
  assert history.epochs == 2
  np.testing.assert_array_equal(
    history['test_accuracy'], [[0.5, 0.6], [0.7, 0.7], [0.9, 0.9]]
  )
  np.testing.assert_array_equal(history['train_seconds'], [[0.5, 1.5]] * 3)


@pytest.mark.parametrize('epochs', [0, 1, 3])
def test_a_history_survives_json(epochs):
  history = _history(epochs)
  if epochs:
    history.append(**{name: [NAN, INF, 1 / 3] for name in records.METRICS})
  text = json.dumps(history.to_json())
  again = records.History.from_json(json.loads(text))
  for name in records.METRICS:
    np.testing.assert_array_equal(again[name], history[name])
    assert again[name].dtype == float


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.parametrize('name', ['train_loss', 'test_loss'])
def test_a_loss_that_is_not_finite_is_divergence_for_good(name, value):
  history = _history(2, **{name: [1.0, value, 1.0]})
  np.testing.assert_array_equal(history.diverged(), [False, True, False])
  history.append(**dict.fromkeys(records.METRICS, 1.0))
  np.testing.assert_array_equal(history.diverged(), [False, True, False])


def test_the_summary_of_a_finished_arm():
  assert records.summarize(_history(2), SEEDS, 0.1, 2) == {
    'status': 'finished',
    'epoch': 2,
    'epochs': 2,
    'learning_rate': 0.1,
    'seeds': SEEDS,
    'final_test_accuracy': [0.6, 0.7, 0.9],
    'mean': pytest.approx(2.2 / 3),
    'sd': pytest.approx(np.std([0.6, 0.7, 0.9], ddof=1)),
    'diverged_seeds': [],
    'epoch_train_seconds': 1.0,
  }


def test_the_summary_leaves_out_diverged_seeds_and_names_them():
  history = _history(2, train_loss=[1.0, NAN, 1.0])
  result = records.summarize(history, SEEDS, 0.1, 2)
  assert result['status'] == 'diverged'
  assert result['diverged_seeds'] == [8]
  assert result['final_test_accuracy'] == [0.6, None, 0.9]
  assert result['mean'] == pytest.approx(0.75)
  assert result['sd'] == pytest.approx(0.3 / np.sqrt(2))


@pytest.mark.parametrize(
  ('epochs', 'changes', 'status', 'finite'),
  [
    (0, {}, 'running', 0),
    (1, {}, 'running', 3),
    (2, {'test_loss': NAN}, 'diverged', 0),
    (2, {'test_loss': [1.0, NAN, INF]}, 'diverged', 1),
  ],
)
def test_the_summary_has_no_mean_or_sd_of_too_few(
  epochs, changes, status, finite
):
  result = records.summarize(_history(epochs, **changes), SEEDS, 0.1, 2)
  assert result['status'] == status
  assert result['epoch'] == epochs
  assert (result['mean'] is None) == (finite < 1)
  assert (result['sd'] is None) == (finite < 2)
  json.dumps(result, allow_nan=False)


def test_the_table_has_a_row_for_each_arm_seed_and_epoch(tmp_path):
  rows = _rows(_history(2), 'sgd') + _rows(_history(1), 'adam')
  records.write(tmp_path, rows, {'sgd': {'mean': 0.5}})
  with (tmp_path / 'metrics.csv').open() as file:
    reader = csv.DictReader(file)
    found = list(reader)
  assert reader.fieldnames == COLUMNS
  assert [(r['arm'], r['seed'], r['epoch'], r['step']) for r in found] == [
    *(
      ('sgd', seed, epoch, step)
      for seed in '789'
      for epoch, step in (('1', '10'), ('2', '20'))
    ),
    *(('adam', seed, '1', '10') for seed in '789'),
  ]
  # Every number is written so that it is read back to the last bit.
  for row, original in zip(found, rows, strict=True):
    for name in records.METRICS:
      assert float(row[name]) == original[name]
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == rows
  results = json.loads((tmp_path / 'results.json').read_text())
  assert results == {'sgd': {'mean': 0.5}}


def test_the_table_keeps_what_is_not_finite(tmp_path):
  history = _history(1, train_loss=[NAN, INF, 0.5])
  records.write(tmp_path, _rows(history), {})
  with (tmp_path / 'metrics.csv').open() as file:
    losses = [float(row['train_loss']) for row in csv.DictReader(file)]
  np.testing.assert_array_equal(losses, [NAN, INF, 0.5])

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  found = [json.loads(line, parse_constant=refuse) for line in lines]
  assert [row['train_loss'] for row in found] == [None, None, 0.5]


def test_a_run_that_has_just_begun_has_an_empty_table(tmp_path):
  records.write(tmp_path, [], {})
  assert (tmp_path / 'metrics.csv').read_text() == ','.join(COLUMNS) + '\n'
  assert (tmp_path / 'metrics.jsonl').read_text() == ''
  assert json.loads((tmp_path / 'results.json').read_text()) == {}
