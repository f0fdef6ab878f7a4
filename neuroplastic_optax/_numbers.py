"""Hyperparameters: what a number may be, its value at an update, and its cast.

A hyperparameter is a Python or NumPy number, a JAX array, a tracer or, where a
schedule is allowed, a callable of the update count. Python and NumPy numbers
are checked when the optimizer is built; arrays and tracers cannot be.

A transformation declares its numbers with `Numbers`. The objects that users
pass (rules, homeostasis, the controller) are a `Stage`, with fields made by
the public `number` and `switch`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import math
import types
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Scalar = float | jax.Array
_T = TypeVar('_T')

# The end of an error message, for an argument that must not become an array.
STATIC = (
  ' It must be a Python integer: under optax.inject_hyperparams, pass '
  "static_args='{}'."
)

# Of `np.generic` also numbers of ml_dtypes, such as bfloat16.
_KNOWN = (int, float, np.generic, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Number:
  """The numbers that a hyperparameter may be, between two bounds.

  Attributes:
    low_open: whether `low` itself is excluded.
    high_open: whether `high` itself is excluded.
    schedule: whether it may be a callable of the update count.
    optional: whether it may be None; a string says what None means.
  """

  low: float = -math.inf
  high: float = math.inf
  low_open: bool = False
  high_open: bool = True
  schedule: bool = False
  optional: bool | str = False

  @property
  def scheduled(self) -> 'Number':
    """The same numbers, or a schedule."""
    return dataclasses.replace(self, schedule=True)

  def __str__(self) -> str:
    left = '(' if self.low_open or self.low == -math.inf else '['
    right = ')' if self.high_open else ']'
    words = f'a number in {left}{self.low:g}, {self.high:g}{right}'
    if self.schedule:
      words += ' or a schedule (a callable of the update count)'
    if self.optional:
      words += ' or None'
      words += f' ({self.optional})' if self.optional is not True else ''
    return words

  def check(self, name: str, value: Any) -> None:
    """Raises TypeError or ValueError for what `name` may not be."""
    if (self.optional and value is None) or (self.schedule and callable(value)):
      return
    message = f'{name} must be {self}, got {value!r}.'
    if not is_known(value) and not isinstance(value, jax.Array):
      raise TypeError(message)
    if not _is_of(value, jnp.floating, jnp.integer):
      raise TypeError(message)
    if jnp.ndim(value):
      raise ValueError(message)
    if is_known(value) and not self._holds(value):
      raise ValueError(message)

  def _holds(self, value: Any) -> bool:
    try:
      value = float(value)
    except OverflowError:
      value = math.inf
    above = value > self.low if self.low_open else value >= self.low
    below = value < self.high if self.high_open else value <= self.high
    return above and below and value != -math.inf  # False for nan too.

  def cast(self, value: Any, dtype: Any) -> Scalar:
    """A number, ready for arithmetic with arrays of `dtype`.

    Python and NumPy numbers become Python floats, which never promote an array
    and keep expressions such as 1 - β exact; arrays take `dtype`.

    `optax.inject_hyperparams` rounds numbers to the dtype of the params. In
    bfloat16 0.999 rounds to 1, and in float16 1e-8 to 0: an average that never
    moves, a division by zero. What rounded onto the open end of (0, ∞) or of
    [0, 1) becomes the number next to it.
    """
    tiny = float(jnp.finfo(dtype).tiny)
    positive = self.low_open and self.low == 0
    if is_known(value):
      return max(float(value), tiny) if positive else float(value)
    array = jnp.asarray(value)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    if self.high_open and self.high == 1 and floating:
      array = jnp.minimum(array, 1 - jnp.finfo(array.dtype).epsneg)
    array = array.astype(dtype)
    return jnp.maximum(array, tiny) if positive else array


REAL = Number()
NON_NEGATIVE = Number(0.0)
POSITIVE = Number(0.0, low_open=True)
DECAY = Number(0.0, 1.0)
FRACTION = Number(0.0, 1.0, high_open=False)


def is_known(value: Any) -> bool:
  """Whether `value` is a Python or NumPy number, known while tracing."""
  return isinstance(value, _KNOWN) and not isinstance(value, bool)


def is_zero(value: Any) -> bool:
  """Whether a number is known, while tracing, to be zero."""
  return is_known(value) and float(value) == 0.0


def _is_of(value: Any, *kinds: Any) -> bool:
  dtype = getattr(value, 'dtype', np.dtype(float))  # Python's have none.
  return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def value_at(name: str, value: Any, count: jax.Array) -> Any:
  """The value of the number or schedule `name` at update `count`, from 0.

  A schedule must return a scalar: an array would be broadcast over the params.
  """
  if not callable(value):
    return value
  number = value(count)
  if not isinstance(number, (bool, jax.Array, *_KNOWN)) or not _is_of(
    number, jnp.floating, jnp.integer, jnp.bool_
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


def check_integer(name: str, value: Any, low: int = 1) -> int:
  """Returns a Python or NumPy integer ≥ `low` as a Python integer."""
  message = f'{name} must be an integer ≥ {low}, got {value!r}.'
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    if isinstance(value, jax.Array):
      message += STATIC.format(name)
    raise TypeError(message)
  if value < low:
    raise ValueError(message)
  return int(value)


def check_period(name: str, value: Any) -> Any:
  """Returns a number of updates ≥ 1, which may be an array or a tracer."""
  is_array = isinstance(value, jax.Array) and _is_of(value, jnp.integer)
  if is_array and not value.ndim:
    return value.astype(jnp.int32)
  return check_integer(name, value)


def check_order(low_name: str, low: Any, high_name: str, high: Any) -> None:
  """Refuses bounds that are known to be the wrong way round."""
  if is_known(low) and is_known(high) and low > high:
    raise ValueError(
      f'{low_name} must be at most {high_name}, got {low_name}={low!r} and '
      f'{high_name}={high!r}.'
    )


def check_choice(
  name: str, value: Any, known: Sequence[str], *, optional: bool = False
) -> None:
  """Raises ValueError if `value` is none of some names, nor a None allowed."""
  # Its type comes first: whatever is no string may not be comparable either.
  if (isinstance(value, str) and value in known) or (
    optional and value is None
  ):
    return
  words = [*(f'"{word}"' for word in known), *['None'] * optional]
  raise ValueError(
    f'{name} must be {", ".join(words[:-1])} or {words[-1]}, got {value!r}.'
  )


def check_switch(name: str, value: Any) -> None:
  """Raises TypeError if `value` is not a Python bool."""
  if not isinstance(value, bool):
    raise TypeError(f'{name} must be True or False, got {value!r}.')


class _Hyperparameters:
  """Holds hyperparameters, each an attribute.

  Attributes:
    _allowed: by name, what each may be.
    _label: what error messages call one, given its name.
  """

  _allowed: Mapping[str, Number]
  _label: ClassVar[str] = '{}'

  def _check(self) -> None:
    for name, allowed in self._allowed.items():
      allowed.check(self._label.format(name), getattr(self, name))

  def at(self, count: jax.Array) -> Self:
    """The same at update `count`: schedules replaced by their values."""
    return self._map(
      lambda name, value: value_at(self._label.format(name), value, count)
    )

  def cast(self, dtype: Any) -> Self:
    """The same, without schedules, as scalars for arithmetic in `dtype`."""
    return self._map(
      lambda name, value: (
        None if value is None else self._allowed[name].cast(value, dtype)
      )
    )

  def _map(self, function: Callable[[str, Any], Any]) -> Self:
    return _build(
      type(self),
      vars(self)
      | {name: function(name, getattr(self, name)) for name in self._allowed},
    )


def _build(cls: type[_T], attributes: Mapping[str, Any]) -> _T:
  # Not by `__init__`: JAX also unflattens with placeholders for leaves.
  built = cls.__new__(cls)
  vars(built).update(attributes)
  return built


class Numbers(_Hyperparameters, types.SimpleNamespace):
  """The hyperparameters of a transformation.

  `Numbers(rate=(rate, DECAY), strength=(strength, NON_NEGATIVE.scheduled))`
  checks them. At an update, `numbers.at(count).cast(dtype)` has their values
  as scalars, ready for arithmetic in `dtype`.
  """

  def __init__(self, **declared: tuple[Any, Number]) -> None:
    super().__init__(**{name: value for name, (value, _) in declared.items()})
    self._allowed = {name: allowed for name, (_, allowed) in declared.items()}
    self._check()


# What `number` and `switch` leave in the metadata of a dataclass's field.
_NUMBER = 'neuroplastic_optax.number'
_SWITCH = 'neuroplastic_optax.switch'


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
  allowed = Number(
    low,
    high,
    low_open=low_open,
    high_open=high_open or high == math.inf,
    schedule=schedule,
    optional=optional,
  )
  return dataclasses.field(default=default, metadata={_NUMBER: allowed})


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


class Stage(_Hyperparameters):
  """The base class of rules, homeostasis and the controller.

  A stage is a frozen dataclass. Its numbers are checked when it is built, and
  are its leaves as a pytree, so that a whole optimizer can be built inside
  `jax.vmap` over them. All other fields are static.

  Attributes:
    _trees_of_numbers: the names of fields that hold a pytree of numbers or a
      callable, which the subclass checks and resolves itself.
  """

  _trees_of_numbers: ClassVar[tuple[str, ...]] = ()

  def __init_subclass__(cls) -> None:
    super().__init_subclass__()
    cls._label = f'{cls.__name__}.{{}}'
    jax.tree_util.register_pytree_with_keys(
      cls, cls._flatten_with_keys, cls._unflatten
    )

  def __post_init__(self) -> None:
    self._check()
    for name in self._marked(_SWITCH):
      check_switch(self._label.format(name), getattr(self, name))

  @property
  def _allowed(self) -> Mapping[str, Number]:  # type: ignore[override]
    return self._marked(_NUMBER)

  @classmethod
  def _marked(cls, mark: str) -> dict[str, Any]:
    """The fields with this mark in their metadata, and what it holds."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return {f.name: f.metadata[mark] for f in fields if mark in f.metadata}

  def _flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
    fields = dataclasses.fields(self)  # type: ignore[arg-type]
    static = {f.name: getattr(self, f.name) for f in fields}
    leaves = [
      (jax.tree_util.GetAttrKey(name), static.pop(name))
      for name in (*self._allowed, *self._trees_of_numbers)
      if not callable(static[name])
    ]
    # A mask or groups may be an unhashable tree; its parts are hashable.
    parts, treedef = jax.tree.flatten(static)
    names = tuple(key.name for key, _ in leaves)
    return leaves, (names, treedef, tuple(parts))

  @classmethod
  def _unflatten(cls, aux: Any, leaves: Iterable[Any]) -> Self:
    names, treedef, parts = aux
    numbers = dict(zip(names, leaves, strict=True))
    return _build(cls, jax.tree.unflatten(treedef, parts) | numbers)
