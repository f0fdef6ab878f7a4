"""Fields of the dataclasses that configure a stage: numbers and switches.

A field says at its definition what it may hold; `_stage.Stage` reads that when
it checks, casts and resolves an object.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, NamedTuple

from neuroplastic_optax import _hyperparameters

_NUMBER = 'neuroplastic_optax.number'
_SWITCH = 'neuroplastic_optax.switch'


class Number(NamedTuple):
  """What a field made by `number` or `hyperparameter` may hold."""

  allowed: _hyperparameters.Interval
  schedule: bool  # Whether it may be a callable of the update count.
  optional: bool | str  # Whether it may be None; a string says what that means.

  def check(self, name: str, value: Any) -> None:
    """Raises TypeError or ValueError where the field may not hold `value`."""
    _hyperparameters.check(name, value, **self._asdict())


def hyperparameter(
  allowed: _hyperparameters.Interval = _hyperparameters.NON_NEGATIVE,
  *,
  default: Any = dataclasses.MISSING,
  schedule: bool = False,
  optional: bool | str = False,
) -> Any:
  """A field for a number from an interval, which may have open ends.

  Args:
    allowed: the numbers that it may hold.
    default: its default; without one, the field must be given.
    schedule: whether it may hold a callable of the update count.
    optional: whether it may hold None; a string says what None means.

  Returns:
    A `dataclasses.field`.
  """
  spec = Number(allowed, schedule, optional)
  return dataclasses.field(default=default, metadata={_NUMBER: spec})


def number(
  *,
  default: Any = dataclasses.MISSING,
  low: float = -math.inf,
  high: float = math.inf,
  low_open: bool = False,
  high_open: bool = False,
  optional: bool | str = False,
  schedule: bool = True,
) -> Any:
  """Makes a dataclass field of a rule that holds a number.

  The field may hold a Python or NumPy number, a scalar JAX array, a tracer or
  a schedule, which is a callable of the update count. Python and NumPy numbers
  are checked when the rule is built; arrays, tracers and what a schedule
  returns are not. When the rule is called, the field holds a scalar: a Python
  float, or an array of the dtype of the computation, which is at least float32.
  The number is a leaf of the rule as a pytree, so that the rule can be built
  inside `jax.vmap`.

  Args:
    default: the default of the field; without one, the field must be given.
    low: the lower bound of the numbers allowed.
    high: their upper bound.
    low_open: whether `low` itself is excluded.
    high_open: whether `high` itself is excluded.
    optional: whether the field may be None. A string means yes, and says in
      error messages what None means.
    schedule: whether the field may hold a schedule.

  Returns:
    A `dataclasses.field`. Building the rule raises TypeError for a value of
    the wrong type, and ValueError for a number that is out of range or not
    finite. Both errors name the field, the value and what is allowed.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: no number lies between `low` and `high`.

  Examples:
    >>> import dataclasses
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> @dataclasses.dataclass(frozen=True)
    ... class Power(modulations.Modulation):
    ...   '''u = α**p ⊙ b.'''
    ...
    ...   power: optax.ScalarOrSchedule = modulations.number(
    ...     default=1.0, low=0.0, high=4.0
    ...   )
    ...
    ...   def modulate(self, tensor):
    ...     return tensor.alpha**self.power * tensor.base_update
    >>> ramp = optax.linear_schedule(0.0, 1.0, 100)
    >>> tx = neuroplastic(modulation=Power(ramp))
    >>> Power(5.0)
    Traceback (most recent call last):
      ...
    ValueError: Power.power must be a number in [0, 4] or a schedule (a callable of the update count), got 5.0.
  """  # noqa: E501  A doctest compares the message as it is.
  for name, bound in (('low', low), ('high', high)):
    # Infinity is a bound, too.
    if isinstance(bound, bool) or not isinstance(bound, int | float):
      raise TypeError(f'{name} must be a Python number, got {bound!r}.')
  check_switch('low_open', low_open)
  check_switch('high_open', high_open)
  check_switch('schedule', schedule)
  if not isinstance(optional, bool | str):
    raise TypeError(
      f'optional must be True, False or a string, got {optional!r}.'
    )
  if not low <= high:
    raise ValueError(
      f'low must be at most high, got low={low} and high={high}.'
    )
  allowed = _hyperparameters.Interval(
    low,
    high,
    low_open=low_open or low == -math.inf,
    high_open=high_open or high == math.inf,
  )
  return hyperparameter(
    allowed, default=default, schedule=schedule, optional=optional
  )


def switch(*, default: Any = dataclasses.MISSING) -> Any:
  """Makes a dataclass field of a rule that holds True or False.

  The switch is static: it is known when the update is traced, so that a plain
  `if` can read it, and it is not a leaf of the rule as a pytree.

  Args:
    default: the default of the field; without one, the field must be given.

  Returns:
    A `dataclasses.field`. Building the rule raises TypeError if the value is
    not a Python bool.

  Examples:
    >>> import dataclasses
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> @dataclasses.dataclass(frozen=True)
    ... class Signed(modulations.Modulation):
    ...   '''u = α ⊙ sign(b), or α ⊙ b.'''
    ...
    ...   signed: bool = modulations.switch(default=True)
    ...
    ...   def modulate(self, tensor):
    ...     b = tensor.base_update
    ...     return tensor.alpha * (jnp.sign(b) if self.signed else b)
    >>> tx = neuroplastic(modulation=Signed(signed=False))
  """
  return dataclasses.field(default=default, metadata={_SWITCH: True})


def numbers(stage: type) -> dict[str, Number]:
  """The numbers of a stage, by the name of their field."""
  return {
    field.name: field.metadata[_NUMBER]
    for field in dataclasses.fields(stage)
    if _NUMBER in field.metadata
  }


def switches(stage: type) -> list[str]:
  """The names of the fields of a stage that are switches."""
  return [f.name for f in dataclasses.fields(stage) if _SWITCH in f.metadata]


def check_choice(
  name: str, value: Any, known: Sequence[str], *, optional: bool = False
) -> None:
  """Raises ValueError if `value` is none of some names, nor a None allowed."""
  # Its type comes first: whatever is no string may not be comparable either.
  if (isinstance(value, str) and value in known) or (
    optional and value is None
  ):
    return
  words = [*(f'"{each}"' for each in known), *['None'] * optional]
  raise ValueError(
    f'{name} must be {", ".join(words[:-1])} or {words[-1]}, got {value!r}.'
  )


def check_switch(name: str, value: Any) -> None:
  """Raises TypeError if `value` is not a Python bool."""
  if not isinstance(value, bool):
    raise TypeError(f'{name} must be True or False, got {value!r}.')
