"""Optax's own conformance tests, over this optimizer."""

import functools

import jax
import optax
import pytest

from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules
from tests import optax_suite

# Rosenbrock's valley is long for steps of norm 1 at most, and steep at its
# sides: this many units of 1e-3 reach its end in 10,000 steps and stay there.
RATE = 2.5e-3
VARIANTS = {
  'default': dict(learning_rate=RATE),
  'gradient_only': dict(learning_rate=RATE, gradient_only=True),
  'decay_and_state_dtype': dict(
    learning_rate=RATE, weight_decay=1e-4, state_dtype='bfloat16'
  ),
  'momentum_and_schedule': dict(
    learning_rate=1e-3,
    base=optax.trace(0.9),
    plasticity_scale=schedules.epoch_warmup(2.0, 2, 100),
    weight_decay=1e-4,
    decoupled_weight_decay=True,
  ),
}
_ENTRIES = tuple(
  {'opt_name': name, 'opt_kwargs': kwargs} for name, kwargs in VARIANTS.items()
)
_WRAPPED_ENTRIES = tuple(
  entry | {'wrapper_name': None, 'wrapper_kwargs': None} for entry in _ENTRIES
)


_factory = lambda *_: neuroplastic_optimizer
_load = functools.partial(optax_suite.load, __name__, VARIANTS)

AliasTest = _load(
  'optax._src.alias_test',
  'AliasTest',
  {'_OPTIMIZERS_UNDER_TEST': _ENTRIES, '_get_opt': _factory},
  drop={'test_explicit_dtype'},
)
ContribTest = _load(
  'optax.contrib._common_test',
  'ContribTest',
  {
    '_MAIN_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_OTHER_OPTIMIZERS_UNDER_TEST': (),
    '_ALL_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_get_opt_factory': _factory,
  },
  # The same as in the other module, but for fewer dtypes.
  drop={
    'test_gradient_accumulation',
    'test_preserve_dtype',
    'test_state_shape_dtype_shard_stability',
  },
)
ShardingTest = _load(
  'optax._src.sharding_test',
  'ShardingTest',
  {
    'OPTIMIZERS': {
      name: neuroplastic_optimizer(**kwargs)
      for name, kwargs in VARIANTS.items()
    }
  },
  drop={
    'test_microbatch_with_explicit_sharding_replicated',
    'test_microbatch_with_explicit_sharding_sharded',
  },
)
if jax.device_count() < 8:
  ShardingTest = pytest.mark.skip('needs eight devices')(ShardingTest)
