"""A run may be stopped or killed between any two programs, also in an epoch."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from experiments import interrupts
from experiments.configs import default
from experiments.training import engine
from experiments.training import provenance
from experiments.training import run as runs
from experiments.training import session
from tests.experiments import outcomes

pytestmark = pytest.mark.slow


def _config(**fields):
  config = default.get_config()
  # Five updates an epoch, the last of a smaller batch; 3 evaluations of 1000.
  config.update(
    dataset='synthetic:4x4x1:3:23:2100',
    epochs=2,
    batch_size=5,
    seeds=2,
    arms='gradient_only',
    **fields,
  )
  return default.Config.resolve(config)


class _Cut(runs.Observer):
  """Does something at one of the pauses, which it counts."""

  def __init__(self, at=-1, what=lambda: None):
    self.at, self.what, self.pauses, self.said = at, what, 0, []

  def log(self, text):
    self.said.append(text)

  def advanced(self, _):
    self.pauses += 1
    if self.pauses == self.at:
      self.what()


def _train(path, cut=None, **fields):
  return runs.train(_config(**fields), path, cut or _Cut())


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch):
  """A call has one update or one batch: as many cuts as there can be."""
  monkeypatch.setattr(session.Pace, 'units', lambda self, left: 1)


@pytest.fixture(autouse=True)
def _heeded():
  # A shell has what it runs in the background ignore some of them.
  before = [
    signal.signal(x, signal.default_int_handler) for x in interrupts.SIGNALS
  ]
  yield
  for number, handler in zip(interrupts.SIGNALS, before, strict=True):
    signal.signal(number, handler)


# In each of two epochs: before and after five updates; between three batches.
PAUSES = 2 * (1 + 5 + 2)


@pytest.fixture(name='whole', scope='module')
def _whole(tmp_path_factory):
  """The outcome of a run in as few calls as there can be."""
  path = tmp_path_factory.mktemp('whole')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(session.Pace, 'units', lambda self, left: left)
    cut = _Cut()
    _train(path, cut)
  assert cut.pauses == 2 * (1 + 2)
  return outcomes.of(path)


def test_how_an_epoch_is_cut_changes_nothing(tmp_path, whole):
  cut = _Cut()
  _train(tmp_path, cut)
  assert cut.pauses == PAUSES
  assert outcomes.of(tmp_path) == whole


# In an epoch, between batches of the test set, and between two epochs.
@pytest.mark.parametrize(
  'at', [4, *(pytest.param(at, marks=pytest.mark.slow) for at in (8, 9))]
)
def test_stopped_anywhere_it_ends_the_same(tmp_path, whole, at):
  number = interrupts.SIGNALS[at % 3]
  cut = _Cut(at, lambda: os.kill(os.getpid(), number))
  with pytest.raises(interrupts.StoppedError) as info:
    # No other checkpoint comes before the last epoch.
    _train(tmp_path, cut, checkpoint_every=2)
  assert info.value.number == number
  again = _Cut()
  run = _train(tmp_path, again, checkpoint_every=2)
  assert any('resumes' in text for text in again.said)
  assert run.histories['gradient_only'].epochs == 2
  assert cut.pauses + again.pauses <= PAUSES + 4
  assert outcomes.of(tmp_path) == whole


@pytest.mark.slow
def test_killed_in_an_epoch_it_ends_the_same(tmp_path, whole):
  def kill():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    _train(tmp_path, _Cut(10, kill))
  _train(tmp_path)
  assert outcomes.of(tmp_path) == whole


@pytest.mark.slow
def test_grid_gives_what_its_single_runs_give(tmp_path):
  """Whatever is beside a trial, it comes out the same."""
  grid = {'learning_rate': [0.1, 0.3], 'weight_decay': [0.0, 0.01]}
  run = _train(tmp_path / 'grid', trials=str(grid))
  variants = run.variants()
  assert list(variants) == [
    f'gradient_only, learning_rate={rate}, weight_decay={decay}'
    for rate in ('0.1', '0.3')
    for decay in ('0', '0.01')
  ]
  one = variants['gradient_only, learning_rate=0.1, weight_decay=0.01']
  alone = _train(tmp_path / 'alone', trials=str([dict(one.numbers)]))
  (other,) = alone.variants().values()
  for name in ('train_loss', 'test_loss', 'test_accuracy'):
    np.testing.assert_array_equal(one.history[name], other.history[name])
  lines = (tmp_path / 'grid' / 'metrics.csv').read_text().splitlines()
  assert lines[0].split(',')[:6] == [
    *('arm', 'seed', 'epoch', 'step', 'learning_rate', 'weight_decay')
  ]
  assert len(lines) == 1 + 4 * 2 * 2
  results = json.loads((tmp_path / 'grid' / 'results.json').read_text())
  for label, result in results.items():
    assert result['numbers'] == dict(variants[label].numbers)
    assert result['arm'] == 'gradient_only'
    assert result['learning_rate'] == result['numbers']['learning_rate']


def test_provenance_says_who_made_the_results_and_when(tmp_path):
  provenance.begin(tmp_path)
  provenance.end(tmp_path)
  found = json.loads((tmp_path / 'provenance.json').read_text())
  assert found['versions']['jax']
  assert found['hardware']['cores'] == os.cpu_count()
  assert found['start'] < found['end']
  assert 'earlier' not in found
  provenance.begin(tmp_path)
  again = json.loads((tmp_path / 'provenance.json').read_text())
  assert again['earlier'] == [found]
  assert again['start'] == found['start']


def test_evaluation_is_at_eval_params(tmp_path):
  """Where those are not the ones that were trained: here, all zero."""
  zero = lambda opt_state, params: jax.tree.map(jax.numpy.zeros_like, params)
  config = _config()
  run = runs.Run(config, runs.load(config), tmp_path)
  found = session.Session(
    dataclasses.replace(run.trainer('gradient_only'), eval_params=zero),
    run.trials('gradient_only'),
    engine.to_device(run.dataset),
  )
  found.compile()
  found.train_epoch(lambda: None)
  np.testing.assert_allclose(found.history['test_loss'], np.log(3), rtol=1e-5)
  assert (found.history['train_loss'] != np.log(3)).all()
