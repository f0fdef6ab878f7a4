"""What is refused, when, and with which words; and what is not."""

import dataclasses
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


def test_target_rms_scale_must_hold_positive_numbers():
  scale = {'w': 1.0, 'b': [2.0, 0.0]}
  message = "target_rms_scale['b'][1] must be a number in (0, inf), got 0.0"
  with pytest.raises(ValueError, match=re.escape(message)):
    Homeostasis(target_rms_scale=scale)
  with pytest.raises(TypeError, match=r"target_rms_scale\['w'\] must be"):
    Homeostasis(target_rms_scale={'w': '1'})
  Homeostasis(target_rms_scale={'w': jnp.float32(-1)})


# At init and update.


def test_leaves_must_be_floating_or_complex():
  params = {'w': jnp.ones(2), 'steps': [jnp.zeros((), jnp.int32)]}
  message = r"params\['steps'\]\[0\] of dtype int32.*optax.masked"
  with pytest.raises(TypeError, match=message):
    neuroplastic().init(params)
  tx = neuroplastic(gradient_only=True)
  message = r"updates\['steps'\]\[0\] of dtype int32"
  with pytest.raises(TypeError, match=message):
    tx.update(params, tx.init({'w': jnp.ones(2), 'steps': [jnp.ones(())]}))
  with pytest.raises(TypeError, match='of dtype bool'):
    neuroplastic().init(jnp.array(True))


PARAMS = {'w': jnp.ones((2, 3)), 'b': jnp.ones(3)}


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


MISFITS = [
  {'w': True},
  {'w': True, 'b': True, 'c': True},
  {'w': {'x': True}, 'b': True},
  [True, False],
  lambda params: {'w': True},
]


@pytest.mark.parametrize('mask', MISFITS)
def test_masks_that_do_not_fit_are_refused(mask):
  tx = neuroplastic(weight_decay=0.1, weight_decay_mask=mask)
  with pytest.raises(ValueError, match='weight_decay_mask must be a pytree'):
    tx.init(PARAMS)


@pytest.mark.parametrize('scale', [{'w': 1.0}, lambda params: [1.0, 2.0]])
def test_scales_that_do_not_fit_are_refused(scale):
  tx = neuroplastic(homeostasis=Homeostasis(target_rms_scale=scale))
  with pytest.raises(ValueError, match='target_rms_scale must be a pytree'):
    tx.init(PARAMS)


@pytest.mark.parametrize(
  'mask',
  [
    {'w': 1, 'b': 0},
    {'w': 'yes', 'b': 'no'},
    {'w': jnp.asarray(True), 'b': False},
    lambda params: jax.tree.map(jnp.any, params),
  ],
)
def test_masks_must_hold_python_bools(mask):
  tx = neuroplastic(weight_decay=0.1, weight_decay_mask=mask)
  with pytest.raises(TypeError, match='weight_decay_mask must be Python bools'):
    tx.init(PARAMS)


def test_trees_that_differ_are_refused():
  tx = neuroplastic(weight_decay=0.1)
  state = tx.init(PARAMS)
  with pytest.raises(ValueError, match='params must have the structure'):
    tx.update(PARAMS, state, {'w': PARAMS['w']})
  with pytest.raises(ValueError, match='must have the structure'):
    tx.update({'w': PARAMS['w']}, state, {'w': PARAMS['w']})
  lossy = optax.stateless(lambda updates, _: updates['w'])
  with pytest.raises(ValueError, match='the updates of the base must have'):
    neuroplastic(lossy).update(PARAMS, neuroplastic(lossy).init(PARAMS))


# Signatures.


def test_the_optimizer_spells_out_every_argument():
  direction = inspect.signature(neuroplastic).parameters
  complete = inspect.signature(neuroplastic_optimizer).parameters
  assert next(iter(complete)) == 'learning_rate'
  own = {'learning_rate', 'decoupled_weight_decay'}
  assert complete.keys() - own == direction.keys()
  for name, parameter in direction.items():
    assert complete[name].default == parameter.default, name
    assert complete[name].kind == inspect.Parameter.KEYWORD_ONLY


def test_every_number_is_checked_here():
  # An argument whose default is a number is a number.
  for builder in (neuroplastic, Homeostasis):
    parameters = inspect.signature(builder).parameters.values()
    numbers = {p.name for p in parameters if type(p.default) is float}
    assert numbers == BUILDERS[builder].keys()


# Numbers may be arrays and tracers.

DIRECTION_NUMBERS = dict(
  activity_weight=[0.4, 0.1, 0.5],
  gradient_weight=[0.4, 0.8, 0.0],
  memory_weight=[0.2, 0.3, 0.9],
  activity_decay=[0.95, 0.5, 0.0],
  memory_b1=[0.9, 0.0, 0.5],
  memory_b2=[0.99, 0.9, 0.999],
  min_alpha=[0.2, 0.0, 0.9],
  max_alpha=[2.0, 1.5, 1.0],
  plasticity_scale=[1.0, 0.0, 3.0],
  weight_decay=[0.0, 0.1, 0.5],
  eps=[1e-8, 1e-3, 1.0],
)
HOMEOSTASIS_NUMBERS = dict(
  max_update_norm=[1.0, 0.1, 10.0],
  target_rms=[0.02, 0.5, 0.0],
  adaptation_rate=[0.01, 1.0, 2.0],
)
SCALES = {'w': [1.0, 2.0, 3.0], 'b': [1.0, 10.0, 0.1]}


@pytest.mark.parametrize('decoupled', [False, True])
def test_an_optimizer_built_inside_vmap_over_all_its_numbers(decoupled):
  rng = np.random.default_rng(0)
  like = lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype)
  gradients = [jax.tree.map(like, PARAMS) for _ in range(4)]

  def train(learning_rate, numbers, homeostasis):
    tx = neuroplastic_optimizer(
      learning_rate,
      homeostasis=homeostasis,
      decoupled_weight_decay=decoupled,
      **numbers,
    )
    params, state = PARAMS, tx.init(PARAMS)
    for gradient in gradients:
      updates, state = tx.update(gradient, state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  members = [
    (
      rate,
      {name: values[i] for name, values in DIRECTION_NUMBERS.items()},
      Homeostasis(
        **{name: values[i] for name, values in HOMEOSTASIS_NUMBERS.items()},
        target_rms_scale={name: values[i] for name, values in SCALES.items()},
      ),
    )
    for i, rate in enumerate([0.1, 1.0, 0.01])
  ]
  # Stages are pytrees of their numbers: a batch of them is one of arrays.
  batch = jax.tree.map(lambda *values: jnp.array(values), *members)
  actual = jax.jit(jax.vmap(train))(*batch)
  alone = [train(*member) for member in members]
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
  chex.assert_trees_all_close(actual, expected, rtol=2e-5, atol=1e-6)


def test_stages_are_pytrees_of_their_numbers():
  homeostasis = Homeostasis(
    max_update_norm=jnp.float32(2),
    target_rms=None,
    target_rms_scale={'w': 3.0},
  )
  paths = {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree.leaves_with_path(homeostasis)
  }
  assert paths == {
    '.max_update_norm': 2.0,
    '.adaptation_rate': 0.01,
    ".target_rms_scale['w']": 3.0,
  }
  doubled = jax.tree.map(lambda x: x * 2, homeostasis)
  assert isinstance(doubled, Homeostasis)
  assert doubled.max_update_norm == 4.0
  assert doubled.target_rms is None
  assert doubled.target_rms_scale == {'w': 6.0}
  assert jax.tree.leaves(modulations.Direct()) == []
  same = jax.jit(lambda stage: stage)(modulations.Direct())
  assert same == modulations.Direct()


def test_functions_in_stages_are_static():
  scale = lambda params: 1.0
  homeostasis = Homeostasis(target_rms_scale=scale)
  assert len(jax.tree.leaves(homeostasis)) == 3
  assert jax.jit(lambda h: h)(homeostasis).target_rms_scale is scale


def test_homeostasis_may_be_made_inside_vmap():
  def norm(max_update_norm):
    homeostasis = Homeostasis(max_update_norm=max_update_norm)
    tx = neuroplastic(homeostasis=dataclasses.replace(homeostasis))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS))
    return jnp.linalg.norm(updates['w'])

  norms = jnp.array([0.5, 1.0, 2.0])
  np.testing.assert_allclose(jax.vmap(norm)(norms), norms, rtol=0.02)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_float32_numbers_of_low_precision_params(dtype):
  # 0.999 is 1 in bfloat16, 1e-8 is 0 in float16.
  numbers = dict(
    memory_b2=0.999, activity_decay=0.99, eps=1e-8, weight_decay=1e-4
  )
  params = jax.tree.map(lambda p: (p * 0.3).astype(dtype), PARAMS)
  python = neuroplastic(**numbers)
  arrays = neuroplastic(**jax.tree.map(jnp.float32, numbers))
  chex.assert_trees_all_close(
    arrays.update(params, arrays.init(params), params),
    python.update(params, python.init(params), params),
    rtol=float(jnp.finfo(dtype).eps),
  )
