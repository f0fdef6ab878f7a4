"""Hyperparameters: checked when built, resolved and cast at every update."""

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
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.arrays import GRADIENT
from tests.arrays import PARAMS
from tests.running import trained
from tests.trees import stack

# `test_bad_arguments` refuses bad values of every argument by name. Here is
# what the messages are, word by word, and what is accepted.
SCHEDULE = ' or a schedule (a callable of the update count)'


@dataclasses.dataclass(frozen=True)
class Fields(modulations.Modulation):
  any: object = modulations.number(default=0.0)
  bounded: object = modulations.number(default=0.5, low=0.0, high=1.0)
  opened: object = modulations.number(
    default=0.5, low=0.0, high=1.0, low_open=True, high_open=True
  )
  plain: object = modulations.number(default=1.0, low=0.0, schedule=False)
  optional: object = modulations.number(default=None, optional=True)
  named: object = modulations.number(
    default=None, low=0, optional='no limit', schedule=False
  )
  flag: bool = modulations.switch(default=False)
  name: str = 'static'

  def modulate(self, tensor):
    return tensor.base_update * self.bounded


# By field: what is allowed, numbers inside, numbers outside.
ALLOWED = {
  'any': ('a number in (-inf, inf)' + SCHEDULE, [-1e30, 0, 1e30], []),
  'bounded': ('a number in [0, 1]' + SCHEDULE, [0, 0.0, 1], [-1e-9, 1 + 1e-9]),
  'opened': ('a number in (0, 1)' + SCHEDULE, [1e-9, 0.9], [0, 1]),
  'plain': ('a number in [0, inf)', [0, 5], [-1]),
  'optional': ('a number in (-inf, inf)' + SCHEDULE + ' or None', [0], []),
  'named': ('a number in [0, inf) or None (no limit)', [0], [-1e-9]),
}
WRONG = [
  *((ValueError, x) for x in (np.nan, np.inf, -np.inf, 10**400, np.ones(2))),
  *((TypeError, x) for x in ('1', True, 1j, [1.0])),
]


@pytest.mark.parametrize('name', ALLOWED)
def test_fields_accept_what_their_message_allows(name):
  words, inside, outside = ALLOWED[name]
  for error, value in [*WRONG, *((ValueError, x) for x in outside)]:
    message = f'Fields.{name} must be {words}, got {value!r}.'
    with pytest.raises(error, match=f'^{re.escape(message)}$'):
      Fields(**{name: value})
  for value in inside:
    for number in (value, np.float64(value), np.asarray(value, np.float32)):
      assert getattr(Fields(**{name: number}), name) is number
  for value in [*outside, np.nan, np.inf]:  # Arrays are not checked.
    Fields(**{name: jnp.float32(value)})
  jax.eval_shape(lambda x: Fields(**{name: x}).any, jnp.float32(-1))
  for value, allowed in ((None, 'None'), (optax.constant_schedule(1), 'sched')):
    if allowed in words:
      assert getattr(Fields(**{name: value}), name) is value
    else:
      with pytest.raises(TypeError, match=f'^Fields.{name} must be'):
        Fields(**{name: value})


def test_field_without_default_must_be_given():
  @dataclasses.dataclass(frozen=True)
  class Required(modulations.Modulation):
    power: object = modulations.number()
    flag: bool = modulations.switch()

    def modulate(self, tensor):
      return tensor.base_update

  with pytest.raises(TypeError, match="'power' and 'flag'"):
    Required()
  assert Required(1.0, True).power == 1.0


@pytest.mark.parametrize('builder', [neuroplastic, neuroplastic_optimizer])
def test_numbers_that_do_not_go_together_are_refused(builder):
  more = {} if builder is neuroplastic else {'learning_rate': 0.1}
  message = r'min_alpha must be at most max_alpha, got min_alpha=1\.5 and '
  with pytest.raises(ValueError, match=message + r'max_alpha=1\.2\.'):
    builder(min_alpha=1.5, max_alpha=1.2, **more)
  builder(min_alpha=1.5, max_alpha=jnp.float32(1.2), **more)
  builder(min_alpha=1.5, max_alpha=1.5, **more)
  weights = ('activity_weight', 'gradient_weight', 'memory_weight')
  message = 'activity_weight, gradient_weight and memory_weight .* all be 0'
  with pytest.raises(ValueError, match=message):
    builder(**dict.fromkeys(weights, 0), **more)
  builder(**dict.fromkeys(weights, jnp.float32(0)), **more)
  builder(**dict.fromkeys(weights[:2], 0), **more)
  with pytest.raises(ValueError, match=r'low must be at most .*high'):
    LearningRateController(low=1.5, high=1.2)


# Schedules.

SCHEDULED = {
  'learning_rate': lambda schedule: dict(learning_rate=schedule),
  'plasticity_scale': lambda schedule: dict(plasticity_scale=schedule),
  'weight_decay': lambda schedule: dict(weight_decay=schedule),
  'Gain.strength': lambda schedule: dict(
    modulation=modulations.Gain(strength=schedule)
  ),
}


def _updates(arguments):
  for decoupled in (False, True):
    tx = neuroplastic_optimizer(
      **{'learning_rate': 0.1} | arguments, decoupled_weight_decay=decoupled
    )
    yield lambda tx=tx: tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize('name', SCHEDULED)
def test_schedule_must_return_a_real_scalar(name):
  wrong = [
    (ValueError, jnp.full(3, 0.5), r'shape \(3,\)'),
    (ValueError, np.full((2, 3), 0.5), r'shape \(2, 3\)'),
    (TypeError, None, 'None'),
    (TypeError, [0.5], r'\[0\.5\]'),
    (TypeError, 0.5j, '0.5j'),
    (TypeError, np.array('x'), 'x'),
    (TypeError, np.array(None, object), 'None'),
    (TypeError, jax.random.key(0), 'key'),
  ]
  for error, value, found in wrong:
    for update in _updates(SCHEDULED[name](lambda count, x=value: x)):
      with pytest.raises(error, match=f'^{name} must be a schedule.*{found}'):
        jax.eval_shape(update)
  for number in (0.5, 1, np.float32(0.5), np.asarray(0.5), jnp.float32(0.5)):
    for update in _updates(SCHEDULED[name](lambda count, x=number: x)):
      jax.eval_shape(update)


def test_rules_that_differ_in_numbers_share_a_compilation(compiled):
  @jax.jit
  def with_rule(rule):
    tx = neuroplastic(modulation=rule, homeostasis=None)
    return tx.update(GRADIENT, tx.init(PARAMS))

  for bounded in (0.1, 0.2, 0.3):
    with_rule(Fields(bounded=bounded))
  assert compiled.count('jit(with_rule)') == 1


# Casts.


@dataclasses.dataclass(frozen=True)
class Seen(modulations.Modulation):
  """Keeps its numbers as they are when it is called."""

  number: object = modulations.number(default=1.0)
  optional: object = modulations.number(default=None, optional=True)
  seen: object = None

  def modulate(self, tensor):
    self.seen.append((self.number, self.optional))
    return tensor.base_update * self.number


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_numbers_are_scalars_of_at_least_float32(dtype):
  for value, expected in (
    (3, 3.0),
    (np.float64(0.1), 0.1),
    (jnp.bfloat16(0.5), 0.5),
    (np.asarray(0.5, jnp.bfloat16)[()], 0.5),  # A NumPy number of ml_dtypes.
    (lambda count: count + 2, 2.0),
  ):
    seen = []
    tx = neuroplastic(modulation=Seen(value, seen=seen), homeostasis=None)
    g = jnp.ones(3, dtype)
    tx.update(g, tx.init(g))
    ((number, optional),) = seen
    assert number == expected
    assert optional is None
    if isinstance(value, (int, np.generic)):
      assert type(number) is float
    else:
      assert (number.dtype, number.shape) == (jnp.float32, ())


@pytest.mark.parametrize('dtype', [jnp.float8_e4m3fn, jnp.int4])
def test_learning_rates_may_be_narrow_numbers_of_numpy(dtype):
  """As `jax.device_get` gives them."""
  rate, w = np.asarray(1, dtype)[()], jnp.ones(3)
  for value, decoupled in ((rate, True), (lambda _: rate, False)):
    tx = neuroplastic_optimizer(
      value, weight_decay=rate, decoupled_weight_decay=decoupled
    )
    updates, _ = tx.update(w, tx.init(w), w)
    assert updates[0] < 0


# Stages are pytrees of their numbers.


def _paths(stage):
  leaves = jax.tree.leaves_with_path(stage)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def test_numbers_are_leaves_and_all_else_is_static():
  rule = Fields(bounded=0.25, optional=3, flag=True)
  expected = {'.any': 0.0, '.bounded': 0.25, '.opened': 0.5, '.plain': 1.0}
  assert _paths(rule) == expected | {'.optional': 3}
  same = jax.jit(lambda rule: rule)(rule)
  assert same.flag is True
  assert same.name == 'static'
  assert isinstance(same.bounded, jax.Array)
  # A schedule is static, too.
  rule = Fields(bounded=optax.constant_schedule(1.0))
  assert len(jax.tree.leaves(rule)) == len(expected) - 1
  homeostasis = Homeostasis(
    jnp.float32(2), target_rms=None, target_rms_scale={'w': 3.0}
  )
  assert _paths(homeostasis) == {
    '.max_update_norm': 2.0,
    '.adaptation_rate': 0.01,
    ".target_rms_scale['w']": 3.0,
  }
  doubled = jax.tree.map(lambda x: x * 2, homeostasis)
  assert isinstance(doubled, Homeostasis)
  assert doubled.max_update_norm == 4.0
  assert doubled.target_rms_scale == {'w': 6.0}
  scale = lambda params: 1.0
  homeostasis = Homeostasis(target_rms_scale=scale)
  assert jax.jit(lambda h: h)(homeostasis).target_rms_scale is scale
  same = jax.jit(lambda stage: stage)(modulations.Direct())
  assert same == modulations.Direct()


def test_stages_cannot_be_changed_and_are_hashable():
  for stage in (
    modulations.Direct(), modulations.Gain(), modulations.Momentum(),
    modulations.TrustRatio(), modulations.Orthogonal(), Homeostasis(),
    LearningRateController(),
  ):  # fmt: skip
    assert hash(stage) == hash(dataclasses.replace(stage))
    for field in dataclasses.fields(stage):
      with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(stage, field.name, 0.5)


@pytest.mark.parametrize('decoupled', [False, True])
def test_optimizer_can_be_built_inside_vmap_over_all_its_numbers(decoupled):
  # Each number at three fractions of its default, and those that default to 0.
  fractions = jnp.array([1.0, 0.9, 0.5])
  parameters = inspect.signature(neuroplastic).parameters.values()
  numbers = {
    x.name: fractions * x.default
    for x in parameters
    if type(x.default) is float
  }
  numbers |= dict(learning_rate=fractions, weight_decay=0.2 * fractions)
  one = Homeostasis(1.0, 0.5, 2.0, target_rms_scale={'w': 3.0, 'b': 1.0})
  homeostasis = jax.tree.map(lambda x: x * fractions, one)
  gradients = [jax.tree.map(lambda g, n=n: g - n, GRADIENT) for n in range(4)]

  def train(numbers, homeostasis):
    tx = neuroplastic_optimizer(
      homeostasis=homeostasis, decoupled_weight_decay=decoupled, **numbers
    )
    return trained(tx, PARAMS, gradients)

  batch = numbers, homeostasis
  actual = jax.jit(jax.vmap(train))(*batch)
  member = lambda i: jax.tree.map(lambda x: x[i], batch)
  expected = stack([jax.jit(train)(*member(i)) for i in range(3)])
  chex.assert_trees_all_close(actual, expected, rtol=2e-5, atol=1e-6)


# What needs the params.


@pytest.mark.parametrize('builder', [neuroplastic, neuroplastic_optimizer])
def test_only_weight_decay_needs_the_params(builder):
  more = {} if builder is neuroplastic else {'learning_rate': 0.1}
  for weight_decay in (0.1, lambda count: 0.0, jnp.float32(0.0)):
    tx = builder(weight_decay=weight_decay, **more)
    with pytest.raises(ValueError, match='weight_decay needs the params'):
      tx.update(PARAMS, tx.init(PARAMS))
  for arguments in ({}, dict(weight_decay_mask={'w': True, 'b': False})):
    tx = builder(**arguments, **more)
    actual = tx.update(PARAMS, tx.init(PARAMS))
    expected = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_equal(actual, expected)
