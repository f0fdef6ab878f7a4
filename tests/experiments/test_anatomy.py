"""The program that takes steps apart, as its users meet it."""

import csv
import json
import re

import numpy as np
from PIL import Image
import pytest

from tests.experiments import program

TINY = (
  '--config.dataset=synthetic:4x4x1:4:40:12',
  '--config.stream=permuted_labels',
  '--config.tasks=3',
  '--config.updates=8',
  '--config.batch_size=8',
  '--config.seeds=2',
  '--before=2',
  '--after=3',
)


def _run(folder, *more):
  return program.run(folder, *TINY, *more, name='anatomy')


@pytest.fixture(name='folder')
def _folder(tmp_path_factory):
  """Beside it lie the output and what was compiled, for all tests."""
  return tmp_path_factory.mktemp('folder')


def _rows(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def test_the_rate_of_sgd_is_its_learning_rate(folder):
  result = _run(folder, '--config.arms=sgd,full_no_clip', '--workdir=out')
  assert (result.code, result.stderr) == (0, '')
  rates = [
    (row['arm'], float(row['rate']))
    for row in _rows(folder / 'out' / 'rates.csv')
    if float(row['size']) >= 0.5
  ]
  sgd = [rate for arm, rate in rates if arm == 'sgd']
  np.testing.assert_allclose(sgd, 0.1, rtol=1e-3)
  full = [rate for arm, rate in rates if arm == 'full_no_clip']
  # α is in [0.2, 2].
  assert 0.02 <= min(full) < max(full) <= 0.2 * (1 + 1e-3)
  steps = _rows(folder / 'out' / 'steps.csv')
  assert {(row['task'], row['update']) for row in steps} == {
    (task, str(update)) for task in '23' for update in range(-2, 3)
  }
  with Image.open(folder / 'out' / 'anatomy.png') as image:
    assert image.width > 1000
  made_by = json.loads((folder / 'out' / 'anatomy.json').read_text())
  assert made_by['config']['arms'] == ['sgd', 'full_no_clip']
  assert made_by['provenance']['versions']['jax']


def test_by_default_it_looks_at_what_a_task_has(folder):
  tiny = TINY[:-1]
  result = program.run(
    folder, *tiny, '--config.arms=sgd', '--workdir=all', name='anatomy'
  )
  assert (result.code, result.stderr) == (0, '')
  updates = {row['update'] for row in _rows(folder / 'all' / 'steps.csv')}
  assert updates == {str(update) for update in range(-2, 6)}


def test_looking_changes_nothing(folder):
  for tasks in ('3', '2,3'):
    result = _run(
      folder, '--config.arms=full', f'--tasks={tasks}', f'--workdir={tasks}'
    )
    assert (result.code, result.stderr) == (0, '')
  one, both = (
    [
      [float(row[name]) for name in ('gradient_rms', 'step_rms')]
      for row in _rows(folder / tasks / 'steps.csv')
      if row['task'] == '3'
    ]
    for tasks in ('3', '2,3')
  )
  np.testing.assert_allclose(one, both, rtol=1e-4)


@pytest.mark.parametrize(
  ('flags', 'sentence'),
  [
    (['--tasks=1'], "--tasks must be some of 2 to 3, each once, got '1'"),
    (['--tasks=2,2'], "--tasks must be .* got '2,2'"),
    (['--tasks=4'], "--tasks must be .* got '4'"),
    (['--tasks=two'], "--tasks must be .* got 'two'"),
    (['--after=7'], 'together must be at most 8, .* got 2 and 7'),
    (['--after=0'], '--after'),
    (['--config.arms=sdg'], 'sdg'),
    (['--workdir='], '--workdir must name a folder'),
  ],
)
def test_bad_settings_are_one_sentence(folder, flags, sentence):
  result = _run(folder, *flags)
  assert result.code
  assert len(result.stderr.splitlines()) == 1
  assert re.search(sentence, result.stderr)
  assert not list(folder.iterdir())


def test_without_a_stream_there_are_no_tasks(folder):
  result = program.run(folder, '--config.arms=sgd', name='anatomy')
  assert result.code == 1
  assert result.stderr == (
    'error: config.stream must name a stream, whose tasks follow one another; '
    "got ''.\n"
  )
  assert not list(folder.iterdir())
