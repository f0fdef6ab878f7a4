"""Results do not depend on lanes and devices."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.models import mlp
from experiments.training import mapping
from tests.experiments.training.diary import assert_close
from tests.experiments.training.diary import assert_same
from tests.experiments.training.diary import NORMED
from tests.experiments.training.diary import of_trial
from tests.experiments.training.diary import programs

pytestmark = [pytest.mark.usefixtures('one_device'), pytest.mark.slow]


def _outcome(arm):
  state, metrics = arm.train(2)
  return state, metrics, arm.evaluate(state)


@pytest.mark.parametrize(
  ('arm', 'lanes'),
  [
    (NORMED, 2),
    pytest.param(NORMED, None, marks=pytest.mark.slow),
    pytest.param(
      dataclasses.replace(NORMED, model=mlp.MLP), 2, marks=pytest.mark.slow
    ),
  ],
)
def test_lanes_change_only_rounding(arm, lanes):
  assert_close(_outcome(dataclasses.replace(arm, lanes=lanes)), _outcome(arm))


def test_trial_is_bit_identical_alone_and_beside_others():
  """To the last bit, whatever the seeds and learning rates beside it."""
  together = dataclasses.replace(NORMED, learning_rate=(0.1, 1e30, 0.01))
  state, metrics, test = _outcome(together)
  # One of them diverges, and stays alone with that.
  for found in (metrics[-1], test):
    assert np.isfinite(found.loss).tolist() == [True, False, True]
  for i in (0, 2):
    alone = dataclasses.replace(
      NORMED, seeds=(i,), learning_rate=together.learning_rate[i]
    )
    assert_same(
      of_trial(_outcome(alone), 0), of_trial((state, metrics, test), i)
    )


@pytest.fixture(name='devices')
def _devices(monkeypatch):
  """Has the engine see that many devices."""
  if len(jax.devices()) < 4:
    pytest.skip('needs four devices')

  def see(count):
    programs.cache_clear()  # They were made for other devices.
    monkeypatch.setattr(jax, 'device_count', lambda: count)

  yield see
  programs.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
  ('count', 'available', 'used'), [(5, 4, 3), (4, 4, 4), (7, 3, 3)]
)
def test_results_do_not_depend_on_devices(count, available, used, devices):
  arm = dataclasses.replace(NORMED, seeds=tuple(range(count)))
  expected = _outcome(arm)
  devices(available)
  assert_same(_outcome(arm), expected)
  # No device has more to do than it must.
  assert len(arm.start().step.sharding.device_set) == used


@pytest.mark.slow
@pytest.mark.parametrize('count', [4, 5])
def test_placed_data_are_not_sent_again(count, devices):
  devices(4)
  arm = dataclasses.replace(NORMED, seeds=tuple(range(count)))
  pixels = mapping.replicate(arm.pixels, count)
  trials = mapping.shard(arm.trials, count)
  state = arm.programs.init(trials)
  n = mapping.replicate(jax.numpy.int32(1), count)
  update = jax.jit(arm.programs.trainer.update)
  jax.block_until_ready(update(state, trials, pixels, n))
  with jax.transfer_guard_device_to_device('disallow'):
    jax.block_until_ready(update(state, trials, pixels, n))
    # What lies on one device would be sent at every call.
    with pytest.raises(jax.errors.JaxRuntimeError, match='Disallowed'):
      jax.block_until_ready(update(state, trials, arm.pixels, n))
