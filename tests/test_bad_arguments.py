"""Every argument of every public function, given what it cannot be.

The table is made from the signatures: an argument has a kind, by its name or
by `OWN`, and a kind has bad values. So a new argument fails here until somebody
has said what it may be, and then until it refuses what it may not.
"""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import neuroplastic_optax
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes

NAN, INF = math.nan, math.inf
PARAMS = {'w': jnp.ones((2, 3)), 'b': jnp.ones(3)}
ADAM = optax.scale_by_adam()


class Strange:
  """What is nothing that an argument may be; it has no equality and no hash."""

  __hash__ = None

  def __eq__(self, other):
    raise AssertionError('a value is compared before its type is known')

  def __repr__(self):
    return 'Strange()'


# What no number may be, whatever its range.
_NO_NUMBERS = (
  *('1', b'1', '', True, np.True_, 1j, np.complex64(1), [1.0], (), {}),
  *(Strange(), NAN, INF, -INF, np.float32(NAN), np.float64(INF)),
  *(10**400, np.ones(2), np.ones(1), np.ones((0,)), np.array('1')),
  *(np.array(None), np.datetime64(1, 's')),
  *(jnp.ones(2), jnp.ones((1, 1)), jnp.asarray(1j), jnp.asarray(True)),
  jax.random.key(0),
)
_NO_INTEGERS = (
  *('1', '', True, np.True_, 1.0, np.float32(1), NAN, INF, 1j, [1], (), {}),
  *(Strange(), int, np.ones(2, int), jnp.asarray(1.0), jnp.ones(2, int)),
)


def _numbers(*out_of_range, schedule=False, optional=False):
  callables = () if schedule else (lambda count: 0.5,)
  nothing = () if optional else (None,)
  wide = [np.float64(x) for x in out_of_range]
  return (*_NO_NUMBERS, *callables, *nothing, *out_of_range, *wide)


def _integers(*out_of_range, optional=False):
  nothing = () if optional else (None,)
  return (*_NO_INTEGERS, *nothing, *out_of_range, np.int64(out_of_range[-1]))


def _names(*known, optional=False):
  nothing = () if optional else (None,)
  # In other letters, cut short, or in a list.
  wrong = [known[0].upper(), known[0][:-1], f' {known[0]}', [known[0]]]
  return (
    *wrong,
    '',
    1,
    True,
    NAN,
    Strange(),
    b'x',
    {},
    np.array('x'),
    *nothing,
  )


_MASKS = (
  *(1.0, 0, 'w', b'w', '', NAN, Strange(), np.float32(1), jnp.ones(2), 1j),
  *({'w': 1.0}, {'w': 'yes', 'b': True}, {'w': True}, {'v': True, 'b': True}),
  *({'w': None, 'b': True}, [True, False], {'w': np.ones(3, bool), 'b': True}),
  *(lambda params: 1.0, lambda params: {'w': True}, lambda params: None),
  lambda params: {'w': 'yes', 'b': False},
)
_ARRAY_MASKS = ({'w': jnp.asarray(True), 'b': False},)
_SCALAR_MASKS = (True, False, np.True_, np.array(True), jnp.asarray(True))
_TRANSFORMATIONS = (
  *('adam', optax.adam, 1, 0.1, True, NAN, Strange(), {}, [ADAM], ADAM.init),
  lambda params: params,
)
_DTYPES = (
  *('nonsense', '', 8, NAN, True, Strange(), [], {}),
  *('int8', 'complex64', bool, np.uint32, object, str),
)
_STACKED = (
  *('1', '', True, np.True_, 1.0, NAN, 1j, -1, np.int64(-1), Strange(), b'1'),
  *(np.ones(2, int), jnp.asarray(1), 5, {'w': -1, 'b': 0}, {'w': 0.5, 'b': 0}),
  *({'w': 1}, {'v': 0, 'b': 0}, {'w': None, 'b': 0}, [0, 0]),
  *(lambda path, leaf: -1, lambda path, leaf: 0.5, lambda path, leaf: 'x'),
  *(lambda path, leaf: None, lambda path, leaf: 5),
)
_AXES = (
  *(1, 0, True, 1.0, NAN, b'x', Strange(), (1,), ('x', None), {'w': 1}),
  *(np.array('x'), jnp.ones(2), {'w': ('x', 2), 'b': None}, {'v': 'x'}),
  *(lambda path, leaf: 1, lambda path, leaf: ('x', 1)),
)
_SWITCHES = (
  *(1, 0, 1.0, None, 'yes', 'True', '', np.True_, jnp.asarray(True), NAN, []),
  *(Strange(), lambda count: True),
)
_KEYS = (
  *('seed', '', b'0', True, None, 1.0, NAN, 1j, [0], {}, Strange()),
  *(2**70, -(2**70), np.zeros(2), np.zeros(2, np.uint32)),
  *(jnp.ones([]), jnp.zeros((2, 2), jnp.uint32)),
  jax.random.split(jax.random.key(0)),
)
_ORDERS = ('w', 'w,b', 1, NAN, True, [1], ['w', None], Strange(), b'w', [b'w'])
_SCALES = (
  *(0, -1.0, NAN, INF, '1', True, 1j, Strange(), np.ones(2), jnp.ones(2)),
  *({'w': 0.0, 'b': 1}, {'w': '1', 'b': 1}, {'v': 1.0}, {'w': NAN, 'b': 1}),
  *(lambda params: -1.0, lambda params: 'x', lambda params: {'v': 1.0}),
  lambda params: NAN,
)
_BOUNDS = (
  *(0, -1.0, NAN, '1', True, 1j, None, Strange(), np.ones(2), {}, ()),
  *({'w': 0.0, 'b': 1}, {'w': '1', 'b': 1}, {'w': NAN, 'b': 1}),
  *(lambda params: -1.0, lambda params: 'x', lambda params: {'v': 1.0}),
  lambda params: NAN,
)

# Of each kind, what an argument of it may not be.
KINDS: dict[str, tuple[Any, ...]] = {
  'real or schedule': _numbers(schedule=True),
  'number ≥ 0': _numbers(-1, -1e-9),
  'number ≥ 0 or schedule': _numbers(-1, -1e-9, schedule=True),
  'number > 0': _numbers(0, -1, -1e-9),
  'number > 0 or schedule': _numbers(0, -1, -1e-9, schedule=True),
  'number ≥ 0 or None': _numbers(-1, -1e-9, optional=True),
  'number > 0 or None': _numbers(0, -1, -1e-9, optional=True),
  'decay': _numbers(-1e-9, 1, 1.5),
  'fraction or schedule': _numbers(-1e-9, 1 + 1e-9, 2, schedule=True),
  'integer ≥ 0': _integers(-1),
  'integer ≥ 1': _integers(0, -1),
  'integer ≥ 1 or None': _integers(0, -1, optional=True),
  'switch': _SWITCHES,
  # `inject_hyperparams` makes an array of a bool.
  'switch or schedule': (1, 0, 1.0, None, 'yes', '', NAN, [], Strange(), 1j),
  'mask': (*_MASKS, *_SCALAR_MASKS, *_ARRAY_MASKS),
  'mask or bool': (*_MASKS, *_ARRAY_MASKS),
  'groups': (
    *({'v': 1}, [1, 2], {'w': 'a'}, {'w': Strange(), 'b': 1}),
    *({'w': jnp.ones(2), 'b': 1}, Strange(), lambda params: {'v': 1}),
    lambda params: {'w': Strange(), 'b': 1},
  ),
  'base': _TRANSFORMATIONS,
  'transformation': (*_TRANSFORMATIONS, None),
  'transformations': (
    *(None, 'adam', [ADAM], {}, {'a': 1.0}, {1: ADAM}, {'a': optax.adam}),
    *(ADAM, Strange(), {'a': Strange()}, {'a': None}, NAN),
  ),
  'weights': (
    *([1.0], 1.0, 'a', {'c': 1.0}, {'a': 1.0}, {'a': 0.0, 'b': 0.0}, NAN),
    *({'a': -1.0, 'b': 1}, {'a': NAN, 'b': 1}, {'a': '1', 'b': 1}, Strange()),
    *({}, {'a': True, 'b': 1}, {'a': 1, 'b': None}),
  ),
  'modulation': (
    *(None, 'direct', 1, NAN, True, Strange(), {}, modulations.Direct),
    neuroplastic_optax.Homeostasis(),
  ),
  'homeostasis': (
    *('on', 'AUTO', '', True, 1.0, NAN, {}, Strange(), np.array('auto')),
    *(neuroplastic_optax.Homeostasis, modulations.Direct()),
  ),
  'controller': (
    *('on', True, 1.0, NAN, {}, Strange(), modulations.Direct()),
    neuroplastic_optax.LearningRateController,
  ),
  'dtype': _DTYPES,
  'stacked axes': _STACKED,
  'axis names': _AXES,
  'required axis names': (*_AXES[:-2], None, (), {'w': 'x'}, lambda p, x: 'x'),
  'key': _KEYS,
  'order': _ORDERS,
  'scales': _SCALES,
  'bounds': _BOUNDS,
  'momentum': (*(1, 'mu', True, NAN, Strange(), {}), jnp.ones(2)),
  'regex': (1, None, True, NAN, b'w', ['w'], Strange(), '(', '['),
  'diagnostics': _names('global', optional=True),
  'normalize': _names('mean', optional=True),
  'axis': _names('input'),
  'scaling': _names('global'),
  'importance': _names('ewc'),
  'norm': _names('l2'),
  'distribution': _names('normal'),
  'assignment': _names('blend'),
  'utility': _names('activity'),
  'noise': _names('normal'),
  'layers or None': (1, 'w', NAN, True, {'w': 1}, Strange(), [1], ['w']),
  'to': _names('initial'),
  'phase': _names('early'),
  'count': ('1', None, True, NAN, 1.5, 1j, [1], Strange(), -1, jnp.ones([])),
  'fraction': _numbers(-1e-9, 1 + 1e-9, 2),
  # Two mechanisms have at least half each.
  'floor': _numbers(-1e-9, 0.5, 1.0, schedule=True),
  'elements': (*_MASKS, {'w': jnp.ones((2, 3)), 'b': True}),
  'state': (None, 1, 'x', {}, (), NAN, Strange(), optax.EmptyState()),
  'params': (None, 1, 'x', {}, {'w': 1.0}, Strange(), [1.0, 2.0], ADAM),
  'params or None': ('x', b'x', Strange()),
}

# By kind, the arguments that have it, wherever `OWN` says nothing else.
BY_KIND = {
  'real or schedule': 'learning_rate',
  'number ≥ 0': """
    activity_weight gradient_weight memory_weight min_alpha max_alpha max_ratio
    adaptation_rate gain low high value
  """,
  'number ≥ 0 or schedule': """
    plasticity_scale weight_decay strength threshold noise scale forgetting
    shrink perturb jitter rate
  """,
  'number > 0': 'eps early middle late',
  'number > 0 or schedule': 'power damping epsilon max_exponent',
  'decay': 'activity_decay memory_b1 memory_b2 decay anchor_decay '
  'importance_decay start',
  'fraction or schedule': 'fraction',
  'integer ≥ 0': 'warmup_epochs',
  'integer ≥ 1': """
    every period refresh samples epochs steps_per_epoch
  """,
  'switch': """
    gradient_only parameterwise decoupled_weight_decay protect
    match_gradient_norm bias_correction flat
  """,
  'mask': 'mask weight_decay_mask',
  'mask or bool': 'scope',
  'groups': 'groups',
  'base': 'base',
  'transformation': 'inner tx',
  'transformations': 'mechanisms',
  'weights': 'weights',
  'modulation': 'modulation',
  'homeostasis': 'homeostasis',
  'controller': 'controller',
  'stacked axes': 'stacked_axes',
  'axis names': 'axis_name',
  'dtype': 'state_dtype',
  'diagnostics': 'diagnostics',
  'normalize': 'normalize',
  'key': 'key',
  'axis': 'axis',
  'distribution': 'distribution',
  'norm': 'norm',
  'importance': 'importance',
  'assignment': 'assignment',
  'utility': 'utility',
  'to': 'to',
  'order': 'order',
  'regex': 'regex',
  'bounds': 'bound',
  'layers or None': 'units',
  'count': 'count',
  'state': 'opt_state state',
  'params': 'params',
}
KIND_OF = {name: kind for kind, x in BY_KIND.items() for name in x.split()}
OWN = {
  'Homeostasis.max_update_norm': 'number > 0 or None',
  'Homeostasis.target_rms': 'number ≥ 0 or None',
  'Homeostasis.target_rms_scale': 'scales',
  'Momentum.momentum': 'momentum',
  'scale_by_classp.eps': 'number > 0 or schedule',
  'scale_by_classp.scaling': 'switch or schedule',
  'scale_by_upgd.scaling': 'scaling',
  'elastic_weight_consolidation.decay': 'fraction',
  'sleep.strength': 'fraction or schedule',
  'synergy.floor': 'floor',
  'regenerate_inactive.rate': 'fraction or schedule',
  'reset_moments.period': 'integer ≥ 1 or None',
  'reset_state.mask': 'elements',
  'shrink_and_perturb.noise': 'noise',
  'couple_replicas.axis_name': 'required axis names',
  'fan_in_bounds.scale': 'number > 0',
  'epoch_warmup.scale': 'number ≥ 0',
  'phase.name': 'phase',
  'convolutional.params': 'params or None',
  'convolutional.stacked_axes': 'integer ≥ 0',
}


def public():
  """By name, every public function and class that takes arguments."""
  found = {}
  modules = (neuroplastic_optax, modulations, mechanisms, schedules, scopes)
  for module in modules:
    for name in module.__all__:
      value = getattr(module, name)
      if callable(value) and not name.endswith('State'):
        found[name] = value
  return found


# What is not called with arguments of a user's: rules are made by subclasses,
# a `Tensor` and statistics by the library.
NOT_CALLED = {
  'Modulation', 'PerLeaf', 'Residual', 'Statistics', 'Tensor', 'number',
  'switch',
}  # fmt: skip
ARGUMENTS = [
  (name, argument)
  for name, function in public().items()
  if name not in NOT_CALLED
  for argument in inspect.signature(function).parameters
]
every_argument = pytest.mark.parametrize(
  ('name', 'argument'), ARGUMENTS, ids=[f'{n}-{a}' for n, a in ARGUMENTS]
)

# What else a function needs, or what gives an argument a meaning.
WITH: dict[str, dict[str, Any]] = {
  'neuroplastic': dict(weight_decay=0.1),
  'neuroplastic_optimizer': dict(learning_rate=0.1, weight_decay=0.1),
  'clip_weights': dict(bound=1.0),
  'couple_replicas': dict(axis_name='x'),
  'neural_variability': dict(inner=optax.sgd(0.1)),
  'regenerate_inactive': dict(inner=optax.sgd(0.1)),
  'reset_moments': dict(inner=ADAM),
  'synergy': dict(mechanisms={'a': ADAM, 'b': optax.trace(0.9)}),
  'epoch': dict(count=0, steps_per_epoch=2),
  'epoch_warmup': dict(scale=1.0, warmup_epochs=1, steps_per_epoch=2),
  'phase': dict(value=1.0, name='late', steps_per_epoch=2, epochs=2),
  'late_ramp': dict(value=1.0, steps_per_epoch=2, epochs=2),
  'cosine_ramp': dict(value=1.0, steps_per_epoch=2, epochs=2),
  'matching': dict(regex='w'),
  'thirds': dict(early=1.0, middle=1.0, late=1.0),
  'get_diagnostics': dict(
    opt_state=neuroplastic(diagnostics='global').init(PARAMS)
  ),
  'eval_params': dict(
    opt_state=mechanisms.hare_and_tortoise().init(PARAMS), params=PARAMS
  ),
  'inactive_fraction': dict(
    opt_state=mechanisms.regenerate_inactive(ADAM).init(PARAMS)
  ),
  'reset_state': dict(tx=ADAM, state=ADAM.init(PARAMS), params=PARAMS),
}


def _updated(tx):
  """The first update, of which nothing is computed."""
  state = tx.init(PARAMS)
  value_fn = lambda params: jnp.zeros([])
  update = lambda: tx.update(PARAMS, state, PARAMS, value_fn=value_fn)
  return jax.eval_shape(update)


def _used(name, made):
  """Uses what a function made, so far that nothing is computed."""
  if isinstance(made, optax.GradientTransformation):
    _updated(made)
  elif isinstance(made, modulations.Modulation):
    base = ADAM if name == 'Momentum' else None
    _updated(neuroplastic(base, modulation=made))
  elif name == 'Homeostasis':
    _updated(neuroplastic(homeostasis=made))
  elif name == 'LearningRateController':
    _updated(neuroplastic(controller=made))
  elif name == 'fan_in_bounds':
    _updated(mechanisms.clip_weights(made))
  elif hasattr(scopes, name) and callable(made):
    made(PARAMS)


def _kind(name, argument):
  return OWN.get(f'{name}.{argument}') or KIND_OF[argument]


def test_table_has_every_argument_and_nothing_else():
  pairs = {f'{name}.{argument}' for name, argument in ARGUMENTS}
  assert OWN.keys() <= pairs
  assert KIND_OF.keys() <= {argument for _, argument in ARGUMENTS}
  assert KINDS.keys() == {_kind(*each) for each in ARGUMENTS}


@every_argument
def test_a_bad_value_is_refused_by_name(name, argument):
  for value in KINDS[_kind(name, argument)]:
    _assert_refused(name, argument, value, WITH.get(name, {}))


def test_a_mask_of_a_decoupled_decay_is_refused_too():
  more = WITH['neuroplastic_optimizer'] | {'decoupled_weight_decay': True}
  for value in KINDS['mask']:
    argument = 'weight_decay_mask'
    _assert_refused('neuroplastic_optimizer', argument, value, more)


def _assert_refused(name, argument, value, more):
  with pytest.raises((TypeError, ValueError)) as caught:  # noqa: PT012
    _used(name, public()[name](**{**more, argument: value}))
    pytest.fail(f'{name} takes {argument}={value!r}')
  message = str(caught.value)
  assert argument in message, (value, message)
  assert 'must' in message, (value, message)
  if isinstance(value, (str, int, float, complex)):
    assert _shows(message, value), (value, message)


def _shows(message, value):
  """Whether a message has the value, or says what a state has not."""
  words = (repr(value), 'structure', 'it holds none', 'it holds 0')
  return any(word in message for word in words)
