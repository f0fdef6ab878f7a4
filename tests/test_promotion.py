"""Strict dtype promotion: all casts are explicit.

Here everything is only traced. Other files run under it, too; see
`conftest.py`.
"""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules
from tests.settings import RULES
from tests.trees import types_of

PYTHON = dict(
  learning_rate=0.1,
  weight_decay=0.1,
  plasticity_scale=schedules.late_ramp(2.0, steps_per_epoch=2, epochs=3),
)
# As of `inject_hyperparams`, or in a `vmap` over an ensemble.
ARRAYS = {
  **dict.fromkeys(
    ('learning_rate', 'weight_decay', 'memory_b1', 'memory_b2', 'eps'),
    jnp.float32(0.1),
  ),
  'activity_decay': jnp.bfloat16(0.5),
  'min_alpha': jnp.float32(0.5),
  'max_alpha': jnp.float32(1.5),
  'plasticity_scale': schedules.cosine_ramp(jnp.bfloat16(2.0), 2, 3),
}


@pytest.fixture(autouse=True)
def _strict():
  with jax.numpy_dtype_promotion('strict'):
    yield


@pytest.mark.parametrize(
  ('numbers', 'kept'),
  [
    (PYTHON, dict(diagnostics='global', state_dtype='bfloat16')),
    (ARRAYS, dict(diagnostics='per_leaf', stacked_axes={'w': 1, 'b': 0})),
  ],
  ids=['python', 'arrays'],
)
@pytest.mark.parametrize('rule', RULES.values(), ids=RULES)
@pytest.mark.parametrize('x64', [False, True], ids=['x32', 'x64'])
def test_updates_keep_their_types(numbers, kept, rule, x64):
  tx = neuroplastic_optimizer(
    base=optax.trace(0.9),
    modulation=rule,
    homeostasis=Homeostasis(),
    controller=LearningRateController(gain=numbers['learning_rate']),
    # One α per tensor, and a decay after it, for the sake of other paths.
    decoupled_weight_decay=x64,
    parameterwise=not x64,
    **numbers,
    **kept,
  )
  with jax.enable_x64(x64):
    # One leaf is as wide as can be, and alone in that.
    wide = 'float64' if x64 else 'float32'
    dtypes = ('float32', 'bfloat16', 'complex64')
    params = {
      'w': [jnp.ones((2, 3), dtype) for dtype in dtypes],
      'b': jnp.ones(3, wide),
    }
    state = tx.init(params)
    after = jax.eval_shape(tx.update, params, state, params)
    assert types_of(after) == types_of((params, state))


@pytest.mark.parametrize(
  'schedule',
  [
    functools.partial(schedules.epoch_warmup, warmup_epochs=2),
    functools.partial(schedules.late_ramp, epochs=5),
    functools.partial(schedules.cosine_ramp, epochs=5),
    functools.partial(schedules.phase, name='late', epochs=5),
  ],
)
@pytest.mark.parametrize(
  'value', [2, 2.0, jnp.int32(2), jnp.float32(2), jnp.bfloat16(2)]
)
def test_schedules_of_counts_of_updates(schedule, value):
  ramp = schedule(value, steps_per_epoch=3)
  assert ramp(jnp.int32(100)) == 2.0
  assert jax.jit(ramp)(jnp.int32(100)) == 2.0
