"""Optax's own tests of contributed optimizers, over mechanisms.

Not over those that take what these tests do not give (replicas, boundaries, the
loss), or that do not converge to a point of their own by design.
"""

import optax

from neuroplastic_optax import mechanisms
from tests import optax_suite


def _descent(learning_rate, *directions):
  return optax.chain(*directions, optax.scale_by_learning_rate(learning_rate))


def _upgd(learning_rate, decay=0.999, noise=0.0):
  return _descent(learning_rate, mechanisms.scale_by_upgd(decay, noise))


def _classp(learning_rate, power=2.0, eps=1e-5):
  return _descent(
    learning_rate, mechanisms.scale_by_classp(power=power, eps=eps)
  )


def _regenerated(learning_rate, strength=1e-4):
  return _descent(
    learning_rate, mechanisms.regenerate(strength), optax.scale_by_adam()
  )


def _clipped(learning_rate, bound=20.0):
  return optax.chain(optax.adam(learning_rate), mechanisms.clip_weights(bound))


def _tortoise(learning_rate, decay=0.9):
  return optax.chain(
    optax.adam(learning_rate), mechanisms.hare_and_tortoise(decay, 10)
  )


def _shrunk(learning_rate, shrink=1e-6, perturb=1e-6):
  return optax.chain(
    optax.adam(learning_rate), mechanisms.shrink_and_perturb(shrink, perturb)
  )


def _noisy(learning_rate, scale=1e-3):
  return mechanisms.neural_variability(optax.adam(learning_rate), scale)


def _reset(learning_rate):
  return _descent(
    learning_rate, mechanisms.reset_moments(optax.scale_by_adam(), 5000)
  )


def _together(learning_rate, rate=1.0):
  both = {'adam': optax.scale_by_adam(), 'rms': optax.scale_by_rms()}
  return _descent(
    learning_rate, mechanisms.synergy(both, 'adaptive', rate=rate)
  )


FACTORIES = {
  'upgd': (_upgd, 1e-3),
  'classp': (_classp, 1.0),
  'regenerated': (_regenerated, 1e-2),
  'clipped': (_clipped, 1e-2),
  'tortoise': (_tortoise, 1e-2),
  'shrunk': (_shrunk, 1e-2),
  'noisy': (_noisy, 1e-2),
  'reset': (_reset, 1e-2),
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
