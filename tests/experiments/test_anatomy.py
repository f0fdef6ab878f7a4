"""The program that takes steps apart, as its users meet it."""

import json

import numpy as np
import pandas as pd
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


@pytest.fixture(name='out', scope='module')
def _out(tmp_path_factory):
  folder = tmp_path_factory.mktemp('folder')
  flags = ('--config.arms=sgd,full_no_clip', '--workdir=out')
  result = program.run(folder, *TINY, *flags, name='anatomy')
  assert (result.code, result.stderr) == (0, '')
  return folder / 'out'


@pytest.mark.slow
def test_the_rate_of_sgd_is_its_learning_rate(out):
  rates = pd.read_csv(out / 'rates.csv')
  rates = rates[rates['size'] >= 0.5].groupby('arm')['rate']
  np.testing.assert_allclose(rates.get_group('sgd'), 0.1, rtol=1e-3)
  full = rates.get_group('full_no_clip')
  # α is in [0.2, 2].
  assert 0.02 <= full.min() < full.max() <= 0.2 * (1 + 1e-3)
  steps = pd.read_csv(out / 'steps.csv')
  assert [*steps] == [
    *('arm', 'task', 'update', 'leaf', 'size', 'gradient_rms', 'step_rms'),
    *('gradient_carriers', 'step_carriers', 'rate_spread'),
  ]
  assert {*zip(steps['task'], steps['update'], strict=True)} == {
    (task, update) for task in (2, 3) for update in range(-2, 3)
  }
  with Image.open(out / 'anatomy.png') as image:
    assert image.width > 1000
  made_by = json.loads((out / 'anatomy.json').read_text())
  assert made_by['config']['arms'] == ['sgd', 'full_no_clip']
  assert made_by['provenance']['versions']['jax']


@pytest.mark.slow
def test_looking_changes_nothing_and_by_default_a_task_is_looked_at(out):
  tiny = [x for x in TINY if not x.startswith('--after')]
  flags = ('--config.arms=full_no_clip', '--tasks=3', '--workdir=one')
  result = program.run(out.parent, *tiny, *flags, name='anatomy')
  assert (result.code, result.stderr) == (0, '')
  one, both = (pd.read_csv(x / 'steps.csv') for x in (out.parent / 'one', out))
  assert {*one['update']} == {*range(-2, 6)}
  one = one[one['update'] < 3]
  both = both[(both['task'] == 3) & (both['arm'] == 'full_no_clip')]
  names = ['gradient_rms', 'step_rms']
  np.testing.assert_allclose(one[names], both[names], rtol=1e-4)
