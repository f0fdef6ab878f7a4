"""What a person sees: progress that says enough, a table that is whole."""

import io
import re
import types

import pytest
from rich.console import Console

from experiments.reporting import terminal
from experiments.reporting.console import Reporter
from experiments.training import records
from experiments.training import run_tables
from tests.experiments.reporting import test_run_pictures

NAN = float('nan')


def _console(width=80, *, is_terminal=False):
  return Console(
    file=io.StringIO(),
    width=width,
    force_terminal=is_terminal,
    highlight=False,
    markup=False,
    emoji=False,
  )


def _history(accuracies, losses):
  history = records.History(len(accuracies))
  history.append(
    train_loss=losses,
    train_accuracy=0.5,
    test_loss=1.0,
    test_accuracy=accuracies,
    train_seconds=1.5,
    test_seconds=0.5,
  )
  return history


def _shown(history, *, is_terminal=False):
  console = _console(200, is_terminal=is_terminal)
  reporter = Reporter(console)
  config = types.SimpleNamespace(length=4, unit='epoch', tensorboard=False)
  run = types.SimpleNamespace(config=config)
  session = types.SimpleNamespace(done=0, steps=1, history=history)
  with reporter.training(run, 'sgd', session):
    reporter.epoch(history)
  return console.file.getvalue()


@pytest.mark.parametrize(
  ('accuracies', 'losses', 'text'),
  [
    ([0.5, 0.7], [1.0, 3.0], 'test accuracy 60.00 ± 14.14 %, 1.50 s'),
    ([0.5], [2.0], 'test accuracy 50.00 %, 1.50 s'),
    # Diverged seeds are counted, and nothing else.
    (
      [0.5, 0.1, 0.7],
      [1.0, NAN, 3.0],
      'test accuracy 60.00 ± 14.14 %, 1.50 s, 1 diverged',
    ),
    ([0.1, 0.1], [NAN, NAN], 'all diverged, 1.50 s'),
  ],
)
def test_progress_in_a_file_is_a_line_an_epoch(accuracies, losses, text):
  if 'all' not in text:
    text = f'train loss 2.0000, {text}'
  assert _shown(_history(accuracies, losses)) == f'sgd: epoch 1/4, {text}\n'


def test_progress_on_a_terminal_is_a_bar():
  text = _shown(_history([0.5, 0.7], [1.0, 3.0]), is_terminal=True)
  assert all(part in text for part in ('━', '1/4', 'train loss 2.0000'))


def _table(results, compile_seconds=(), title='digits, mlp', width=80):
  console = _console(width)
  console.print(terminal.results_table(results, dict(compile_seconds), title))
  return console.file.getvalue()


def _result(accuracies, losses, seeds=None, epochs=1):
  history = _history(accuracies, losses)
  seeds = seeds or list(range(len(accuracies)))
  return run_tables.summarize(history, seeds, 0.1, epochs, 'epoch')


def _row(text, arm):
  (line,) = [line for line in text.splitlines() if f' {arm} ' in line]
  return [cell.strip() for cell in line.strip('│').split('│')]


def test_the_table_has_mean_and_sd_and_what_diverged_of_every_arm():
  results = {
    'full': _result([0.5, 0.7], [1.0, 3.0]),
    'gradient_only': _result([0.6, 0.6], [1.0, 3.0], epochs=9),
    'sgd': _result([0.5], [1.0]),
    'adam': _result([0.5, 0.1, 0.7], [1.0, NAN, 3.0], [4, 5, 6]),
    'lion': _result([0.1], [NAN]),
    'muon': run_tables.summarize(records.History(2), [0, 1], 1e-3, 5, 'epoch'),
  }
  text = _table(results, {'full': 12.34}, 'digits [1], :smile: 3', width=120)
  assert 'digits [1], :smile: 3' in text
  for row in (
    ('full', '0.1', '2', '60.00 ± 14.14 %', '1.500 s', '12.3 s', 'finished'),
    ('gradient_only', '0.1', '2', '60.00 ± 0.00 %', '1.500 s', '–', 'running'),
    ('muon', '0.001', '2', '–', '–', '–', 'running'),
  ):
    assert _row(text, row[0]) == [*row]
  assert _row(text, 'sgd')[3] == '50.00 %'
  assert _row(text, 'adam')[3] == '60.00 ± 14.14 %'
  assert _row(text, 'adam')[-1] == 'diverged (seeds 5)'
  assert _row(text, 'lion')[3] == '–'


def test_nothing_is_cut_off_in_80_columns():
  results = {
    arm: _result([0.5] * 5, [1.0] * 5)
    | {'diverged_seeds': list(range(100, 105))}
    for arm in ('gradient_only', 'full')
  }
  text = _table(results, {'full': 123.4})
  assert '…' not in text
  assert _row(text, 'gradient_only')[:4] == [
    *('gradient_only', '0.1', '5', '50.00 ± 0.00 %')
  ]
  assert all(len(line) <= 80 for line in text.splitlines())


def test_the_rows_of_a_grid_are_not_cut_off_either():
  label = 'gradient_only, learning_rate=0.03, plasticity_scale=0.5'
  text = _table({label: _result([0.5] * 5, [1.0] * 5)}, {label: 123.4})
  assert '…' not in text
  cells = [x.split('│')[1].strip() for x in text.splitlines() if '│' in x]
  assert ''.join(cells) == label.replace(' ', '')
  assert '50.00 ± 0.00 %' in text


@pytest.mark.parametrize('diverged', [(False, False), (False, True)])
def test_no_number_of_the_table_of_a_stream_is_cut(diverged):
  history = test_run_pictures.stream(diverged)
  result = run_tables.summarize(history, [0, 1], 0.123, 2, 'task')
  results = dict.fromkeys(('sgd', 'neural_variability'), result)
  texts = []
  for width in (80, 200):
    console = _console(width)
    console.print(terminal.stream_table(results, 'split, digits'))
    texts.append(console.file.getvalue())
  assert '…' not in texts[0]
  numbers = [sorted(re.findall(r'\d+\.\d+', text)) for text in texts]
  assert numbers[0] == numbers[1]
