"""A run logs the statistics of α without changing its results."""

import csv
import io
import json

import pytest
from rich.console import Console

from experiments.configs import default
from experiments.reporting.console import Reporter
from experiments.training import run as runs


def _train(path, **fields):
  config = default.get_config()
  config.update(
    dataset='synthetic:4x4x1:3:20:10', epochs=2, batch_size=6, seeds=2, **fields
  )
  reporter = Reporter(Console(file=io.StringIO()))
  return runs.train(default.Config.resolve(config), path, reporter).results()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  return path, _train(path, arms='gradient_only,sgd')


@pytest.mark.slow
def test_files_have_a_row_for_each_leaf(run):
  path, _ = run
  with (path / 'diagnostics.csv').open() as file:
    rows = list(csv.DictReader(file))
  leaves = {row['leaf'] for row in rows}
  assert 'hidden1/kernel' in leaves
  assert len(leaves) == 6
  keys = {(r['arm'], r['seed'], r['epoch'], r['leaf']) for r in rows}
  # Plain SGD has no α.
  assert len(rows) == len(keys) == 2 * 2 * 6
  assert all(0 < float(row['alpha_mean']) < 3 for row in rows)
  lines = (path / 'diagnostics.jsonl').read_text().splitlines()
  assert len(lines) == len(rows)
  first = json.loads(lines[0])
  kernel = {'head/bias': 3, 'head/kernel': 3 * 256}
  assert sum(first['alpha_histogram']) == kernel[first['leaf']]


@pytest.mark.slow
def test_diagnostics_change_no_result(run, tmp_path):
  _, results = run
  without = _train(tmp_path, arms='gradient_only', diagnostics=False)
  assert not (tmp_path / 'diagnostics.csv').exists()
  found = results['gradient_only']['final_test_accuracy']
  assert without['gradient_only']['final_test_accuracy'] == found


@pytest.mark.slow
def test_pictures_of_a_finished_run_are_redrawn_the_same(run):
  path, _ = run
  pictures = {p: p.read_bytes() for p in path.rglob('*.png')}
  names = {str(p.relative_to(path)) for p in pictures}
  assert names == {
    *('curves.png', 'overview.png', 'diagnostics/gradient_only.png')
  }
  _train(path, arms='gradient_only,sgd')
  assert {p: p.read_bytes() for p in path.rglob('*.png')} == pictures
