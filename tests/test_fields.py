"""Numbers and switches: what they may hold, and what rules make of them."""

import dataclasses
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
from tests.arrays import GRADIENT
from tests.arrays import PARAMS
from tests.running import run


@dataclasses.dataclass(frozen=True)
class Fields(modulations.Modulation):
  any: object = modulations.number(default=0.0)
  bounded: object = modulations.number(default=0.5, low=0.0, high=1.0)
  above: object = modulations.number(default=2, low=2)
  plain: object = modulations.number(default=1.0, low=0.0, schedule=False)
  optional: object = modulations.number(default=None, optional=True)
  named: object = modulations.number(
    default=None, low=0, optional='no limit', schedule=False
  )
  flag: bool = modulations.switch(default=False)
  name: str = 'static'

  def modulate(self, tensor):
    return tensor.base_update * self.bounded


@pytest.mark.parametrize(
  'made',
  [
    modulations.Direct(),
    modulations.Gain(),
    modulations.Momentum(),
    modulations.TrustRatio(),
    modulations.Orthogonal(),
    Homeostasis(),
    LearningRateController(),
  ],
  ids=lambda made: type(made).__name__,
)
def test_what_is_made_cannot_be_changed(made):
  """An optimizer that has it would not notice; and it can be a static value."""
  assert hash(made) == hash(dataclasses.replace(made))
  for field in dataclasses.fields(made):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(made, field.name, 0.5)


SCHEDULE = ' or a schedule (a callable of the update count)'
ALLOWED = {
  'any': 'a number in (-inf, inf)' + SCHEDULE,
  'bounded': 'a number in [0, 1]' + SCHEDULE,
  'above': 'a number in [2, inf)' + SCHEDULE,
  'plain': 'a number in [0, inf)',
  'optional': 'a number in (-inf, inf)' + SCHEDULE + ' or None',
  'named': 'a number in [0, inf) or None (no limit)',
}


@pytest.mark.parametrize('name', ALLOWED)
@pytest.mark.parametrize(
  ('value', 'error'),
  [
    (np.nan, ValueError),
    (np.inf, ValueError),
    (-np.inf, ValueError),
    (np.ones(2), ValueError),
    ('1', TypeError),
    (True, TypeError),
    (1j, TypeError),
    ([1.0], TypeError),
  ],
  ids=repr,
)
def test_an_error_names_the_field_the_value_and_what_is_allowed(
  name, value, error
):
  message = f'Fields.{name} must be {ALLOWED[name]}, got {value!r}.'
  with pytest.raises(error, match=f'^{re.escape(message)}$'):
    Fields(**{name: value})


@pytest.mark.parametrize(
  ('name', 'inside', 'outside'),
  [
    ('any', [-1e30, 0, 1e30], []),
    ('bounded', [0, 0.0, 1, 1.0], [-1e-9, 1 + 1e-9, -1]),
    ('above', [2, 1e30], [1.999, 0]),
    ('plain', [0, 5], [-1]),
    ('named', [0], [-1e-9]),
  ],
)
def test_bounds_are_inclusive(name, inside, outside):
  for value in inside:
    for number in (value, np.float64(value), jnp.float32(value)):
      assert getattr(Fields(**{name: number}), name) is number
  for value in outside:
    for number in (value, np.float64(value)):
      with pytest.raises(ValueError, match=f'^Fields.{name} must be'):
        Fields(**{name: number})
    Fields(**{name: jnp.float32(value)})  # Arrays are not checked.


def test_none_and_schedules_where_they_are_allowed():
  schedule = optax.linear_schedule(0.0, 1.0, 10)
  for name, allowed in ALLOWED.items():
    for value, words in ((None, 'None'), (schedule, 'schedule')):
      if words in allowed:
        assert getattr(Fields(**{name: value}), name) is value
      else:
        with pytest.raises(TypeError, match=f'^Fields.{name} must be'):
          Fields(**{name: value})


def test_a_field_without_default_must_be_given():
  @dataclasses.dataclass(frozen=True)
  class Required(modulations.Modulation):
    power: object = modulations.number()
    flag: bool = modulations.switch()

    def modulate(self, tensor):
      return tensor.base_update

  with pytest.raises(TypeError, match="'power' and 'flag'"):
    Required()
  assert Required(1.0, True).power == 1.0


@pytest.mark.parametrize(
  'value', [1, 0, None, 'yes', np.True_, jnp.array(True)]
)
def test_a_switch_is_a_python_bool(value):
  message = f'Fields.flag must be True or False, got {value!r}.'
  with pytest.raises(TypeError, match=f'^{re.escape(message)}$'):
    Fields(flag=value)


def test_the_switches_of_the_library_are_such():
  message = 'Orthogonal.match_gradient_norm must be True or False, got 1.'
  with pytest.raises(TypeError, match=re.escape(message)):
    modulations.Orthogonal(match_gradient_norm=1)


def test_numbers_are_leaves_and_all_else_is_static():
  rule = Fields(bounded=0.25, optional=3, flag=True)
  leaves = {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree.leaves_with_path(rule)
  }
  assert leaves == {
    '.any': 0.0,
    '.bounded': 0.25,
    '.above': 2,
    '.plain': 1.0,
    '.optional': 3,
  }
  same = jax.jit(lambda rule: rule)(rule)
  assert same.flag is True
  assert same.name == 'static'
  assert isinstance(same.bounded, jax.Array)
  # A schedule is static too.
  rule = Fields(bounded=optax.constant_schedule(1.0))
  assert len(jax.tree.leaves(rule)) == len(leaves) - 2


@dataclasses.dataclass(frozen=True)
class Seen(modulations.Modulation):
  """Tells of what its numbers are when it is called."""

  number: object = modulations.number(default=1.0)
  optional: object = modulations.number(default=None, optional=True)
  told: object = None

  def modulate(self, tensor):
    self.told.append((self.number, self.optional))
    return tensor.base_update * self.number


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_numbers_are_cast_and_resolved_at_every_update(dtype):
  for value, expected in (
    (3, 3.0),
    (np.float64(0.1), 0.1),
    (jnp.bfloat16(0.5), 0.5),
    (lambda count: count + 2, 2.0),
  ):
    told = []
    tx = neuroplastic(modulation=Seen(value, told=told), homeostasis=None)
    g = jnp.ones(3, dtype)
    tx.update(g, tx.init(g))
    ((number, optional),) = told
    assert number == expected
    assert optional is None
    if isinstance(value, (int, np.number)):
      assert type(number) is float
    else:
      assert (number.dtype, number.shape) == (jnp.float32, ())


def test_a_rule_may_be_built_inside_vmap():
  def update(bounded):
    rule = Fields(bounded=bounded)
    tx = neuroplastic(modulation=rule, homeostasis=None)
    return tx.update(GRADIENT, tx.init(PARAMS))[0]['b']

  numbers = jnp.array([0.0, 0.5, 1.0])
  expected = numbers[:, None] * GRADIENT['b']
  np.testing.assert_array_equal(jax.vmap(update)(numbers), expected)


def test_a_schedule_does_not_recompile(compiled):
  rule = Fields(bounded=optax.linear_schedule(0.0, 1.0, 4))
  tx = neuroplastic(modulation=rule, homeostasis=None)
  update, state = jax.jit(tx.update), tx.init(PARAMS)
  compiled.clear()
  for count in range(5):
    u, state = update(GRADIENT, state, PARAMS)
    np.testing.assert_allclose(u['b'], count / 4 * GRADIENT['b'], rtol=1e-6)
  assert compiled.count('jit(update)') == 1

  @jax.jit
  def with_rule(rule):
    tx = neuroplastic(modulation=rule, homeostasis=None)
    return tx.update(GRADIENT, tx.init(PARAMS))

  for bounded in (0.1, 0.2, 0.3):
    with_rule(Fields(bounded=bounded))
  assert compiled.count('jit(with_rule)') == 1


@dataclasses.dataclass(frozen=True)
class Sign(modulations.Residual):
  """u = b + s·α·rms(b) ⊙ sign(b) where the scope says so."""

  strength: object = modulations.number(default=0.1, low=0.0)
  scope: object = None

  def residual(self, tensor):
    b = tensor.base_update
    rms = jnp.sqrt(tensor.mean(b**2))
    return self.strength * tensor.alpha * rms * jnp.sign(b)


def test_a_residual_with_a_scheduled_strength():
  tx = neuroplastic(
    modulation=Sign(
      optax.linear_schedule(0.0, 1.0, 2), {'w': True, 'b': False}
    ),
    homeostasis=None,
    diagnostics='per_leaf',
  )
  alpha = neuroplastic(homeostasis=None)
  state, alpha_state, update = tx.init(PARAMS), alpha.init(PARAMS), tx.update
  for count in range(3):
    u, state = update(GRADIENT, state, PARAMS)
    product, alpha_state = alpha.update(GRADIENT, alpha_state, PARAMS)
    b = np.asarray(GRADIENT['w'], np.float64)
    rms = np.sqrt(np.mean(b**2))
    expected = b + count / 2 * np.asarray(product['w']) / b * rms * np.sign(b)
    np.testing.assert_allclose(u['w'], expected, rtol=1e-5)
    np.testing.assert_array_equal(u['b'], GRADIENT['b'])
    if count == 0:  # With strength 0, the base bit for bit.
      np.testing.assert_array_equal(u['w'], GRADIENT['w'])


def test_its_strength_is_checked():
  with pytest.raises(
    ValueError, match=r'^Sign.strength must be a number in \['
  ):
    Sign(-1.0)


@dataclasses.dataclass(frozen=True)
class OnMomentum(modulations.Modulation):
  uses_momentum = True

  def modulate(self, tensor):
    return tensor.momentum


def test_a_rule_of_ones_own_finds_momentum():
  adam = optax.scale_by_adam(b1=0.9)
  tx = neuroplastic(adam, modulation=OnMomentum())
  u, _ = run(tx, PARAMS, [GRADIENT] * 3)
  chex.assert_trees_all_close(u, GRADIENT, rtol=1e-5)  # Bias-corrected.
  with pytest.raises(ValueError, match='OnMomentum needs a base .* momentum'):
    neuroplastic(modulation=OnMomentum()).init(PARAMS)


@pytest.mark.parametrize(
  ('returned', 'found'),
  [(lambda t: t.mean(t.alpha), 'shape ()'), (lambda t: None, 'None')],
)
def test_a_rule_that_returns_another_shape_is_refused(returned, found):
  @dataclasses.dataclass(frozen=True)
  class Wrong(modulations.Modulation):
    def modulate(self, tensor):
      return returned(tensor)

  tx = neuroplastic(modulation=Wrong())
  message = f'{re.escape("(4, 6), got " + found)}.$'
  with pytest.raises(ValueError, match=f'^Wrong.modulate must .* {message}'):
    tx.update(GRADIENT['w'], tx.init(PARAMS['w']), PARAMS['w'])


def test_a_rule_that_is_no_dataclass_is_refused():
  class Plain(modulations.Modulation):
    def modulate(self, tensor):
      return tensor.base_update

  with pytest.raises(TypeError, match='decorate Plain with @dataclasses'):
    neuroplastic(modulation=Plain())


def test_bounds_may_be_open():
  @dataclasses.dataclass(frozen=True)
  class Open(modulations.Modulation):
    number: object = modulations.number(
      default=0.5, low=0.0, high=1.0, low_open=True, high_open=True
    )

    def modulate(self, tensor):
      return self.number * tensor.base_update

  for value in (0.0, 1.0):
    with pytest.raises(ValueError, match=r'a number in \(0, 1\)'):
      Open(value)


def test_a_rule_may_say_where_momentum_is():
  @dataclasses.dataclass(frozen=True)
  class Own(modulations.Modulation):
    uses_momentum = True

    def find_momentum(self, base_state):
      return base_state['velocity']

    def modulate(self, tensor):
      return tensor.momentum

  base = optax.GradientTransformation(
    lambda params: {'velocity': params},
    lambda updates, state, params=None: (updates, {'velocity': updates}),
  )
  tx = neuroplastic(base, modulation=Own())
  updates, _ = jax.jit(tx.update)(GRADIENT, tx.init(PARAMS), PARAMS)
  chex.assert_trees_all_equal(updates, GRADIENT)
