"""Hyperparameters: which are refused, and with which words."""

import inspect
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.trees import PARAMS


def _optimizer(**arguments):
  return neuroplastic_optimizer(**{'learning_rate': 0.1} | arguments)


def _decoupled(**arguments):
  return _optimizer(decoupled_weight_decay=True, **arguments)


# The numbers of each of the builders, with what they may be.

NON_NEGATIVE = 'a number in [0, inf)'
POSITIVE = 'a number in (0, inf)'
DECAY = 'a number in [0, 1)'
SCHEDULE = ' or a schedule (a callable of the update count)'
OUT_OF_RANGE = {
  NON_NEGATIVE: [-1, -1e-9],
  POSITIVE: [0, 0.0, -1e-9],
  DECAY: [-1e-9, 1, 1.5],
  'a number in (-inf, inf)': [],
}
ALLOWED = {
  NON_NEGATIVE: [0, 0.0, 1, 1e30],
  POSITIVE: [1e-30, 1, 1e30],
  DECAY: [0, 0.0, 0.999999],
  'a number in (-inf, inf)': [-1e30, -1, 0, 1e30],
}

NEUROPLASTIC = {
  'activity_weight': NON_NEGATIVE,
  'gradient_weight': NON_NEGATIVE,
  'memory_weight': NON_NEGATIVE,
  'activity_decay': DECAY,
  'memory_b1': DECAY,
  'memory_b2': DECAY,
  'min_alpha': NON_NEGATIVE,
  'max_alpha': NON_NEGATIVE,
  'plasticity_scale': NON_NEGATIVE + SCHEDULE,
  'weight_decay': NON_NEGATIVE + SCHEDULE,
  'eps': POSITIVE,
}
BUILDERS = {
  neuroplastic: NEUROPLASTIC,
  _optimizer: NEUROPLASTIC
  | {'learning_rate': 'a number in (-inf, inf)' + SCHEDULE},
  _decoupled: {'weight_decay': NON_NEGATIVE + SCHEDULE},
  Homeostasis: {
    'max_update_norm': POSITIVE + ' or None (no norm clip)',
    'target_rms': NON_NEGATIVE + ' or None (no RMS gain)',
    'adaptation_rate': NON_NEGATIVE,
  },
}
NUMBERS = [
  (builder, name, allowed)
  for builder, numbers in BUILDERS.items()
  for name, allowed in numbers.items()
]
every_number = pytest.mark.parametrize(
  ('builder', 'name', 'allowed'),
  NUMBERS,
  ids=[f'{builder.__name__}-{name}' for builder, name, _ in NUMBERS],
)


def _interval(allowed):
  return allowed.split(' or ')[0]


def _build(builder, name, value):
  """Builds with one argument, and others that go with it."""
  # What is at most max_alpha is a matter for two.
  others = {'max_alpha': 1e30} if name == 'min_alpha' else {}
  others |= {'min_alpha': 0} if name == 'max_alpha' else {}
  return builder(**{name: value}, **others)


def _assert_refused(error, builder, name, allowed, value):
  """The message must name the argument, what is allowed and the value."""
  label = 'Homeostasis.' if builder is Homeostasis else ''
  message = f'{label}{name} must be {allowed}, got {value!r}.'
  with pytest.raises(error, match=f'^{re.escape(message)}$'):
    _build(builder, name, value)


def test_every_number_is_checked_here():
  # An argument whose default is a number is a number.
  for builder in (neuroplastic, Homeostasis):
    parameters = inspect.signature(builder).parameters.values()
    numbers = {p.name for p in parameters if type(p.default) is float}
    assert numbers == BUILDERS[builder].keys()


@every_number
def test_numbers_out_of_range_are_refused(builder, name, allowed):
  never = [np.nan, np.inf, -np.inf, 10**400, np.float64('nan')]
  for value in OUT_OF_RANGE[_interval(allowed)] + never:
    _assert_refused(ValueError, builder, name, allowed, value)
  for value in OUT_OF_RANGE[_interval(allowed)]:
    for known in (np.float32(value), np.asarray(value, np.float64)):
      _assert_refused(ValueError, builder, name, allowed, known)


@every_number
def test_numbers_in_range_are_accepted(builder, name, allowed):
  for value in ALLOWED[_interval(allowed)]:
    _build(builder, name, value)
    _build(builder, name, np.float64(value))
    _build(builder, name, np.asarray(value))
    _build(builder, name, jnp.asarray(value, 'float32'))
  accepts_schedules = allowed.endswith(SCHEDULE)
  accepts_none = ' or None' in allowed
  if accepts_schedules:
    _build(builder, name, lambda count: 0.5)
  else:
    _assert_refused(TypeError, builder, name, allowed, optax.identity)
  if accepts_none:
    _build(builder, name, None)
  else:
    _assert_refused(TypeError, builder, name, allowed, None)


@every_number
def test_other_things_than_numbers_are_refused(builder, name, allowed):
  wrong = [
    '0.5', True, np.True_, 0.5j, [0.5], (0.5,), {'a': 0.5},
    np.asarray('0.5'), np.asarray(True), np.asarray(0.5j),
    jnp.asarray(True), jnp.asarray(0.5j), jax.random.key(0),
  ]  # fmt: skip
  for value in wrong:
    _assert_refused(TypeError, builder, name, allowed, value)


@every_number
def test_arrays_of_numbers_are_refused(builder, name, allowed):
  for value in (np.full(2, 0.5), np.full((1, 1), 0.5), jnp.full(1, 0.5)):
    _assert_refused(ValueError, builder, name, allowed, value)


@every_number
def test_the_values_of_arrays_and_tracers_are_not_checked(
  builder, name, allowed
):
  for value in [*OUT_OF_RANGE[_interval(allowed)], np.nan, np.inf]:
    _build(builder, name, jnp.asarray(value, 'float32'))
    jax.eval_shape(
      lambda value: _build(builder, name, value) and value,
      jnp.asarray(value, 'float32'),
    )


@pytest.mark.parametrize('builder', [neuroplastic, _optimizer])
def test_numbers_that_do_not_go_together_are_refused(builder):
  message = r'min_alpha must be at most max_alpha, got min_alpha=1\.5 and '
  with pytest.raises(ValueError, match=message + r'max_alpha=1\.2\.'):
    builder(min_alpha=1.5, max_alpha=1.2)
  with pytest.raises(ValueError, match=r'min_alpha=3.* max_alpha=2\.0'):
    builder(min_alpha=3)
  builder(min_alpha=1.5, max_alpha=jnp.float32(1.2))
  builder(min_alpha=1.5, max_alpha=1.5)
  weights = ('activity_weight', 'gradient_weight', 'memory_weight')
  message = 'activity_weight, gradient_weight and memory_weight .* all be 0'
  with pytest.raises(ValueError, match=message):
    builder(**dict.fromkeys(weights, 0))
  builder(**dict.fromkeys(weights, jnp.float32(0)))
  builder(**dict.fromkeys(weights[:2], 0))


# What a schedule returns.

RULE = lambda schedule: dict(modulation=modulations.Gain(strength=schedule))
SCHEDULED = {
  'learning_rate': lambda schedule: dict(learning_rate=schedule),
  'plasticity_scale': lambda schedule: dict(plasticity_scale=schedule),
  'weight_decay': lambda schedule: dict(weight_decay=schedule),
  'Gain.strength': RULE,
}
every_schedule = pytest.mark.parametrize(
  ('name', 'arguments'), SCHEDULED.items(), ids=SCHEDULED
)


def _update_once(arguments, update_with=lambda f: f):
  for decoupled in (False, True):
    tx = _optimizer(decoupled_weight_decay=decoupled, **arguments)
    update = update_with(tx.update)
    yield lambda update=update, tx=tx: update(PARAMS, tx.init(PARAMS), PARAMS)


@every_schedule
@pytest.mark.parametrize('wrap', [lambda f: f, jax.jit])
def test_schedules_of_anything_but_a_number_are_refused(name, arguments, wrap):
  wrong = [
    (ValueError, lambda count: jnp.full(3, 0.5), r'shape \(3,\)'),
    (ValueError, lambda count: jnp.full(1, 0.5), r'shape \(1,\)'),
    (ValueError, lambda count: np.full((2, 3), 0.5), r'shape \(2, 3\)'),
    (ValueError, lambda count: jnp.stack([count, count]), r'shape \(2,\)'),
    (TypeError, lambda count: None, 'None'),
    (TypeError, lambda count: [0.5], r'\[0\.5\]'),
    (TypeError, lambda count: 0.5j, '0.5j'),
  ]
  for error, schedule, found in wrong:
    for update in _update_once(arguments(schedule), wrap):
      with pytest.raises(error, match=f'^{name} must be a schedule.*{found}'):
        update()


@every_schedule
def test_schedules_may_return_any_kind_of_number(name, arguments):
  del name
  for number in (0.5, 1, np.float32(0.5), np.asarray(0.5), jnp.float32(0.5)):
    for update in _update_once(arguments(lambda count, x=number: x)):
      update()
  # Members of an ensemble, each with a number of its own.
  jax.vmap(
    lambda x: [
      update() for update in _update_once(arguments(lambda count: x * 2))
    ]
  )(jnp.ones(2))


# What is no number.

OTHERS = [
  ('gradient_only', 'True or False', [1, 0, None, 'yes', np.True_]),
  ('parameterwise', 'True or False', [1, 0, None, 'yes', np.True_]),
  ('modulation', 'a Modulation', [None, 'direct', 1, modulations.Direct]),
  ('homeostasis', 'a Homeostasis, None or "auto"', ['on', True, 1.0, {}]),
  ('homeostasis', 'a Homeostasis, None or "auto"', [Homeostasis]),
  ('base', 'GradientTransformation or None', ['adam', optax.adam, 1]),
  ('state_dtype', 'a floating dtype or None', ['nonsense', object(), 8]),
  ('weight_decay_mask', 'a pytree of bools', [True, 0, 1.0, np.True_, 'w']),
  ('weight_decay_mask', 'a pytree of bools', [jnp.asarray(True)]),
]


@pytest.mark.parametrize('builder', [neuroplastic, _optimizer])
@pytest.mark.parametrize(('name', 'allowed', 'values'), OTHERS)
def test_wrong_types_are_refused(builder, name, allowed, values):
  for value in values:
    with pytest.raises(TypeError, match=f'{name} must be .*{allowed}') as info:
      builder(**{name: value})
    assert repr(value) in str(info.value)


def test_wrong_types_are_refused_by_the_optimizer_alone():
  for value in (1, None, 'yes'):
    message = f'decoupled_weight_decay must be True or False, got {value!r}'
    with pytest.raises(TypeError, match=message):
      _optimizer(decoupled_weight_decay=value)
  with pytest.raises(TypeError, match='weight_decay_mask must be a pytree'):
    _decoupled(weight_decay_mask=True)


@pytest.mark.parametrize('dtype', ['int8', 'complex64', bool, np.uint32])
def test_state_dtype_must_be_floating(dtype):
  message = f'state_dtype must be a floating dtype or None, got {dtype!r}'
  with pytest.raises(ValueError, match=re.escape(message)):
    neuroplastic(state_dtype=dtype)


# What weight decay needs.


@pytest.mark.parametrize(
  'weight_decay', [0.1, lambda count: 0.0, jnp.float32(0.0)]
)
@pytest.mark.parametrize('builder', [neuroplastic, _optimizer])
def test_weight_decay_needs_the_params(builder, weight_decay):
  tx = builder(weight_decay=weight_decay)
  state = tx.init(PARAMS)
  with pytest.raises(ValueError, match='weight_decay needs the params'):
    tx.update(PARAMS, state)


@pytest.mark.parametrize('builder', [neuroplastic, _optimizer])
def test_without_weight_decay_params_are_not_needed(builder):
  mask = {'w': True, 'b': False}
  for arguments in ({}, dict(weight_decay=0), dict(weight_decay_mask=mask)):
    tx = builder(**arguments)
    actual = tx.update(PARAMS, tx.init(PARAMS))
    expected = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_equal(actual, expected)


@pytest.mark.parametrize(
  'value', [np.array('x'), np.array(None, object), jax.random.key(0)]
)
@pytest.mark.parametrize('name', ['learning_rate', 'plasticity_scale'])
def test_a_schedule_of_what_is_no_number_is_refused(name, value):
  arguments = {'learning_rate': 0.1} | {name: lambda count: value}
  tx = neuroplastic_optimizer(**arguments)
  with pytest.raises(
    TypeError, match=f'{name} must be a schedule that returns'
  ):
    tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
