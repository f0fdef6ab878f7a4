"""The tables of a run say what was recorded, to the last bit."""

import csv
import json

import numpy as np
import pytest

from experiments.training import records
from experiments.training import run_tables
from tests.experiments.training.test_records import history
from tests.experiments.training.test_records import INF
from tests.experiments.training.test_records import NAN

SEEDS = [7, 8, 9]
COLUMNS = ['arm', 'seed', 'epoch', 'step', *records.METRICS]


def _summary(found):
  return run_tables.summarize(found, SEEDS, 0.1, 2, 'epoch')


def _write(path, **histories):
  """Writes the tables, and reads those of the metrics."""
  variants = [run_tables.Variant(k, {}, x) for k, x in histories.items()]
  run_tables.write(path, variants, SEEDS, 10, 'epoch')
  with (path / 'metrics.csv').open() as file:
    reader = csv.DictReader(file)
    rows = list(reader)
  assert reader.fieldnames == COLUMNS
  return rows, (path / 'metrics.jsonl').read_text().splitlines()


def test_summary_of_a_finished_arm():
  assert _summary(history(2)) == {
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


@pytest.mark.parametrize(
  ('epochs', 'changes', 'status', 'final', 'mean', 'sd'),
  [
    (0, {}, 'running', [None] * 3, None, None),
    (1, {}, 'running', [0.5, 0.7, 0.9], 0.7, 0.2),
    (2, {'test_loss': NAN}, 'diverged', [None] * 3, None, None),
    (2, {'test_loss': [1, NAN, INF]}, 'diverged', [0.6, None, None], 0.6, None),
    (
      *(2, {'train_loss': [1.0, NAN, 1.0]}, 'diverged', [0.6, None, 0.9]),
      *(0.75, 0.3 / np.sqrt(2)),
    ),
  ],
)
def test_summary_leaves_out_diverged_seeds_and_names_them(
  epochs, changes, status, final, mean, sd
):
  result = _summary(history(epochs, **changes))
  assert (result['status'], result['epoch']) == (status, epochs)
  assert result['final_test_accuracy'] == final
  lost = [s for s, x in zip(SEEDS, final, strict=True) if x is None]
  assert result['diverged_seeds'] == (lost if status == 'diverged' else [])
  for name, expected in (('mean', mean), ('sd', sd)):
    assert result[name] == (expected and pytest.approx(expected))
  json.dumps(result, allow_nan=False)


def test_metrics_have_a_row_for_each_arm_seed_and_epoch(tmp_path):
  histories = {'sgd': history(2), 'adam': history(1)}
  rows, lines = _write(tmp_path, **histories)
  assert [(r['arm'], r['seed'], r['epoch'], r['step']) for r in rows] == [
    (arm, seed, *place)
    for arm, places in (
      ('sgd', (('1', '10'), ('2', '20'))),
      ('adam', (('1', '10'),)),
    )
    for seed in '789'
    for place in places
  ]
  # Every number is written so that it is read back to the last bit.
  for row, line in zip(rows, map(json.loads, lines), strict=True):
    found = histories[row['arm']]
    for name in records.METRICS:
      value = found[name][int(row['seed']) - 7, int(row['epoch']) - 1]
      assert float(row[name]) == line[name] == value


def test_tables_keep_what_is_not_finite(tmp_path):
  rows, lines = _write(tmp_path, sgd=history(1, train_loss=[NAN, INF, 0.5]))
  losses = [float(row['train_loss']) for row in rows]
  np.testing.assert_array_equal(losses, [NAN, INF, 0.5])

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  found = [json.loads(line, parse_constant=refuse) for line in lines]
  assert [row['train_loss'] for row in found] == [None, None, 0.5]


def test_run_that_has_just_begun_has_an_empty_table(tmp_path):
  stale = ('diagnostics.csv', 'diagnostics.jsonl', 'evaluations.csv')
  for name in stale:
    (tmp_path / name).touch()
  assert _write(tmp_path, sgd=history(0)) == ([], [])
  assert {x.name for x in tmp_path.iterdir()} == {
    *('metrics.csv', 'metrics.jsonl')
  }
