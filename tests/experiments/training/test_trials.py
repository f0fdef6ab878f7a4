"""The random draws of a seed do not depend on the other trials."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments.training.diary import ADAM
from tests.experiments.training.diary import Arm
from tests.experiments.training.diary import assert_same
from tests.experiments.training.diary import NOISE
from tests.experiments.training.diary import of_trial
from tests.experiments.training.diary import PAIRED
from tests.experiments.training.diary import params_of
from tests.experiments.training.diary import stats_of
from tests.experiments.training.diary import STEPS

pytestmark = [pytest.mark.usefixtures('one_device'), pytest.mark.slow]


def test_training_sees_the_subset_alone():
  stats = stats_of(PAIRED.train(2)[0])
  for i in range(3):
    indices = np.asarray(PAIRED.trials.indices[i])
    assert len(set(indices.tolist())) == 15
    expected = np.zeros(256, int)
    expected[indices] = 2
    np.testing.assert_array_equal(stats['times_seen'][i], expected)


def _of_seed(arm, seed):
  """All that is drawn for a seed, without what its optimizer makes of it."""
  drawn = {
    'init': params_of(arm.start()),
    'stats': stats_of(arm.train(2)[0]),
    'indices': arm.trials.indices,
    'labels': arm.trials.labels,
  }
  return of_trial(drawn, arm.seeds.index(seed))


@pytest.fixture(name='seed3', scope='module')
def _seed3():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'device_count', lambda: 1)
    return _of_seed(dataclasses.replace(PAIRED, seeds=(3,)), 3)


@pytest.mark.parametrize(
  'change',
  [
    {'learning_rate': 7.0, 'seeds': (9, 5, 3), 'optimizer': ADAM, 'lanes': 9},
    pytest.param({'lanes': 2}, marks=pytest.mark.slow),
  ],
)
def test_draws_of_a_seed_do_not_depend_on_other_trials(seed3, change):
  assert_same(_of_seed(dataclasses.replace(PAIRED, **change), 3), seed3)


def test_seeds_differ_in_all_draws(seed3):
  other = _of_seed(PAIRED, 4)
  assert (seed3['init']['weight'] != other['init']['weight']).all()
  for name in ('last_seen', 'key'):
    assert (seed3['stats'][name] != other['stats'][name]).any()
  for name in ('indices', 'labels'):
    assert (seed3[name] != other[name]).any()


def test_dropout_has_a_new_key_every_step(seed3):
  assert seed3['stats']['step'] == 4
  keys = {tuple(key) for key in seed3['stats']['key'][:4].tolist()}
  assert len(keys) == 4
  # None of them is what the initialisation or another stream is drawn from.
  for stream in range(6):
    key = jax.random.fold_in(jax.random.key(3), stream)
    assert tuple(jax.random.key_data(key).tolist()) not in keys


class Mean(nnx.Module):
  """Writes down the mean pixel of every batch."""

  def __init__(self, shape, num_classes, *, rngs):
    del shape, rngs
    self.weight = nnx.Param(jnp.zeros(num_classes))
    self.step = nnx.BatchStat(jnp.zeros([], jnp.int32))
    self.means = nnx.BatchStat(jnp.zeros(STEPS))

  def __call__(self, images, *, train, key=None):
    del key
    if train:
      step = self.step[...]
      self.means[...] = self.means[...].at[step].set(jnp.mean(images))
      self.step[...] = step + 1
    return jnp.zeros((len(images), 1)) + self.weight[...]


def test_augmentation_is_drawn_from_the_seed_and_the_step():
  """One image in batches of one, so that only the augmentation can differ."""
  image = dataclasses.replace(
    NOISE,
    spec=dataclasses.replace(NOISE.spec, augment=True),
    train_images=np.tile(NOISE.train_images[:1], (23, 1, 1, 1)),
  )
  arm = Arm(dataset=image, model=Mean, batch_size=1, seeds=(3, 5))
  state, _ = arm.train()
  means = stats_of(state)['means']
  assert len(set(means.ravel().tolist())) > 15
  assert (means[0] != means[1]).any()
  other = dataclasses.replace(arm, lanes=2, seeds=(9, 3))
  np.testing.assert_array_equal(
    stats_of(other.train()[0])['means'][1], means[0]
  )
