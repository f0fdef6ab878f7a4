"""Hyperparameters: what a number may be, and what it is at an update.

A hyperparameter is a Python or NumPy number, a JAX array, a tracer or, where a
schedule is allowed, a callable of the update count. Python and NumPy numbers
are checked when the optimizer is built; arrays and tracers cannot be.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Scalar = float | jax.Array

_PYTHON_NUMBER = (int, float, np.number, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Interval:
  """The numbers that a hyperparameter may be."""

  low: float
  high: float = math.inf
  low_open: bool = False
  high_open: bool = True

  def __contains__(self, value: float) -> bool:
    above = value > self.low if self.low_open else value >= self.low
    below = value < self.high if self.high_open else value <= self.high
    return above and below  # False for nan too.

  def __str__(self) -> str:
    left = '(' if self.low_open else '['
    right = ')' if self.high_open else ']'
    return f'a number in {left}{self.low:g}, {self.high:g}{right}'


REAL = Interval(-math.inf, low_open=True)
NON_NEGATIVE = Interval(0.0)
POSITIVE = Interval(0.0, low_open=True)
DECAY = Interval(0.0, 1.0)
FRACTION = Interval(0.0, 1.0, high_open=False)


def is_known(value: Any) -> bool:
  """Whether `value` is a Python or NumPy number, known while tracing."""
  return isinstance(value, _PYTHON_NUMBER) and not isinstance(value, bool)


def check(
  name: str,
  value: Any,
  allowed: Interval,
  *,
  schedule: bool = False,
  optional: bool | str = False,
) -> None:
  """Checks one hyperparameter.

  Args:
    name: the argument's name, for the message.
    value: what the user gave.
    allowed: the numbers that it may be.
    schedule: whether it may be a callable of the update count.
    optional: whether it may be None; a string says what None means.

  Raises:
    TypeError: `value` is of the wrong type.
    ValueError: it is out of range or no scalar.
  """
  if (optional and value is None) or (schedule and callable(value)):
    return
  wanted = str(allowed)
  if schedule:
    wanted += ' or a schedule (a callable of the update count)'
  if optional:
    wanted += f' or None ({optional})' if optional is not True else ' or None'
  message = f'{name} must be {wanted}, got {value!r}.'
  if isinstance(value, jax.Array):
    real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(
      value.dtype, jnp.integer
    )
    if not real:
      raise TypeError(message)
    if value.ndim:
      raise ValueError(message)
    return
  if not is_known(value):
    raise TypeError(message)
  if isinstance(value, (np.ndarray, np.generic)):
    if value.dtype.kind not in 'iuf':
      raise TypeError(message)
    if value.ndim:
      raise ValueError(message)
  try:
    number = float(value)
  except OverflowError:
    number = math.inf
  if number not in allowed:
    raise ValueError(message)


def check_integer(name: str, value: Any, low: int = 1) -> int:
  """What an argument is that must be a Python or NumPy integer ≥ `low`.

  Raises:
    TypeError: it is no integer.
    ValueError: it is less than `low`.
  """
  message = f'{name} must be an integer ≥ {low}, got {value!r}.'
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise TypeError(message)
  if value < low:
    raise ValueError(message)
  return int(value)


def at(name: str, value: Any, count: jax.Array) -> Any:
  """The value of a number or schedule at update `count`, from 0.

  Args:
    name: the argument's name, for the message.
    value: the number or schedule.
    count: how many updates there were.

  Raises:
    TypeError: the schedule does not return a real number.
    ValueError: it returns an array that is not a scalar, which would be
      broadcast over the params.
  """
  if not callable(value):
    return value
  number = value(count)
  if not isinstance(number, (bool, jax.Array, *_PYTHON_NUMBER)) or not (
    _is_real(number)
  ):
    raise TypeError(
      f'{name} must be a schedule that returns a number, got one that returns '
      f'{number!r}.'
    )
  if jnp.ndim(number):
    raise ValueError(
      f'{name} must be a schedule that returns a scalar, got one that returns '
      f'an array of shape {jnp.shape(number)}.'
    )
  return number


def _is_real(number: Any) -> bool:
  dtype = getattr(number, 'dtype', np.dtype(float))  # Python's have none.
  kinds = jnp.floating, jnp.integer, jnp.bool_
  return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def checked(name: str, value: Any) -> Any:
  """A number as it is; a schedule, but that what it returns is checked."""
  return (lambda count: at(name, value, count)) if callable(value) else value


def cast(value: Any, dtype: Any, allowed: Interval = REAL) -> Scalar:
  """A number, ready for arithmetic with arrays of `dtype`.

  Python and NumPy numbers become Python floats, which never promote an array
  and keep expressions such as 1 - β exact; arrays take `dtype`.

  `optax.inject_hyperparams` rounds numbers to the dtype of the params. In
  bfloat16 0.999 rounds to 1, and in float16 1e-8 to 0: an average that never
  moves, a division by zero. What rounded onto an end that `allowed` leaves
  open becomes the number next to it.

  Args:
    value: a number, no schedule.
    dtype: a real dtype.
    allowed: the numbers that it may be.

  Returns:
    A Python float or a scalar array of `dtype`.
  """
  tiny = float(jnp.finfo(dtype).tiny)
  if is_known(value):
    number = float(value)
    return max(number, tiny) if allowed == POSITIVE else number
  array = jnp.asarray(value)
  if allowed == DECAY and jnp.issubdtype(array.dtype, jnp.floating):
    array = jnp.minimum(array, 1 - jnp.finfo(array.dtype).epsneg)
  array = array.astype(dtype)
  return jnp.maximum(array, tiny) if allowed == POSITIVE else array


def is_zero(value: Any) -> bool:
  """Whether a number is known, while tracing, to be zero."""
  return is_known(value) and float(value) == 0.0


def check_order(low_name: str, low: Any, high_name: str, high: Any) -> None:
  """Refuses bounds that are known to be the wrong way round."""
  if is_known(low) and is_known(high) and low > high:
    raise ValueError(
      f'{low_name} must be at most {high_name}, got {low_name}={low!r} and '
      f'{high_name}={high!r}.'
    )
