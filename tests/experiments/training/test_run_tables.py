"""What a run says of seeds that diverged, and of nothing.

`test_train` holds the tables of a whole run.
"""

import json

import numpy as np
import pytest

from experiments.training import records
from experiments.training import run_tables
from tests.experiments.training.test_records import history
from tests.experiments.training.test_records import INF
from tests.experiments.training.test_records import NAN

SEEDS = [7, 8, 9]


def _summary(found):
  return run_tables.summarize(found, SEEDS, 0.1, 2, 'epoch')


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


def test_run_that_has_just_begun_has_an_empty_table(tmp_path):
  stale = ('diagnostics.csv', 'diagnostics.jsonl', 'evaluations.csv')
  for name in stale:
    (tmp_path / name).touch()
  variant = run_tables.Variant('sgd', {}, history(0))
  run_tables.write(tmp_path, [variant], SEEDS, 10, 'epoch')
  columns = ['arm', 'seed', 'epoch', 'step', *records.METRICS]
  assert (tmp_path / 'metrics.csv').read_text() == ','.join(columns) + '\n'
  assert (tmp_path / 'metrics.jsonl').read_text() == ''
  assert {x.name for x in tmp_path.iterdir()} == {
    *('metrics.csv', 'metrics.jsonl')
  }
