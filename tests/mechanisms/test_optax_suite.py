"""Optax's own tests of contributed optimizers, over four mechanisms.

Each stands for a kind: a direction with noise, one that comes last, and the two
wrappers. `test_conformance.py` goes through all.
"""

import optax
import pytest

from neuroplastic_optax import mechanisms
from tests import optax_suite

pytestmark = pytest.mark.slow


def _descent(learning_rate, *directions):
  return optax.chain(*directions, optax.scale_by_learning_rate(learning_rate))


def _upgd(learning_rate, decay=0.999, noise=0.0):
  return _descent(learning_rate, mechanisms.scale_by_upgd(decay, noise))


def _tortoise(learning_rate, decay=0.9):
  return optax.chain(
    optax.adam(learning_rate), mechanisms.hare_and_tortoise(decay, 10)
  )


def _noisy(learning_rate, scale=1e-3):
  return mechanisms.neural_variability(optax.adam(learning_rate), scale)


def _together(learning_rate, rate=1.0):
  both = {'adam': optax.scale_by_adam(), 'rms': optax.scale_by_rms()}
  return _descent(
    learning_rate, mechanisms.synergy(both, 'adaptive', rate=rate)
  )


FACTORIES = {
  'upgd': (_upgd, 1e-3),
  'tortoise': (_tortoise, 1e-2),
  'noisy': (_noisy, 1e-2),
  'together': (_together, 1e-2),
}
_ENTRIES = tuple(
  {
    'opt_name': name,
    'opt_kwargs': {'learning_rate': rate},
    'wrapper_name': None,
    'wrapper_kwargs': None,
  }
  for name, (_, rate) in FACTORIES.items()
)

ContribTest = optax_suite.load(
  __name__,
  FACTORIES,
  'optax.contrib._common_test',
  'ContribTest',
  {
    '_MAIN_OPTIMIZERS_UNDER_TEST': _ENTRIES,
    '_OTHER_OPTIMIZERS_UNDER_TEST': (),
    '_ALL_OPTIMIZERS_UNDER_TEST': _ENTRIES,
    '_get_opt_factory': lambda name: FACTORIES[name][0],
  },
  drop={
    # Of aliases whose rate is annotated.
    'test_optimizers_accept_learning_rate_schedule_if_type_annotated_as_such',
  },
)


def test_it_covers_every_one():
  counts = {}
  for name in optax_suite.names_of(ContribTest):
    family = optax_suite.family(name, FACTORIES)
    counts[family] = counts.get(family, 0) + 1
  assert counts.keys() >= {
    'test_optimizers',
    'test_optimizers_accept_extra_args',
    'test_optimizers_can_be_wrapped_in_inject_hyperparams',
    'test_preserve_dtype',
    'test_gradient_accumulation',
    'test_state_shape_dtype_shard_stability',
  }
  assert all(count % len(FACTORIES) == 0 for count in counts.values()), counts
