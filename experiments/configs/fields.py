"""The fields of a configuration: flag, type, default and check in one place.

A configuration is a frozen dataclass whose fields are made by the functions
here. `config_dict` makes of it what `ml_collections` takes flags for, `values`
reads that back and refuses, by the field's name, what it may not hold.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import ml_collections
from ml_collections import config_dict as config_dicts
import numpy as np

from experiments import errors

# Takes the field's name and its value; gives the value as the dataclass holds
# it, or raises an error.
Check = Callable[[str, Any], Any]

# Of int32, in which updates, trials and processes are counted.
MOST = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)


def refusal(name: str, allowed: str, value: Any) -> errors.InvalidValueError:
  """The error that says what a field must be."""
  return errors.InvalidValueError(
    f'config.{name} must be {allowed}, got {value!r}.'
  )


def checked(
  default: Any, check: Check, kind: type = object, *, free: bool = False
) -> Any:
  """A field with a check of its own.

  Args:
    default: its default; None for one that depends on other fields, and which
      the configuration fills in.
    check: what a value has to pass.
    kind: the type that a flag is read as; `object` for any Python literal.
    free: whether results do not depend on it, so that it may change when a run
      is resumed.

  Returns:
    A `dataclasses.field`.
  """
  return dataclasses.field(
    default=default, metadata={'check': check, 'kind': kind, 'free': free}
  )


def is_free(cls: Any, name: str) -> bool:
  """Whether results do not depend on a field of a configuration."""
  fields = {field.name: field for field in dataclasses.fields(cls)}
  return name in fields and fields[name].metadata.get('free', False)


def integer(
  default: int | None,
  low: int,
  high: int = MOST,
  *,
  free: bool = False,
) -> Any:
  """A field that holds an integer from `low` to `high`, by default int32's."""

  def check(name: str, value: Any) -> int:
    if type(value) is not int or value < low:
      raise refusal(name, f'an integer ≥ {low}', value)
    if value > high:
      raise refusal(name, f'an integer ≤ {high}', value)
    return value

  return checked(default, check, int, free=free)


def number(
  default: float | None,
  low: float,
  high: float = math.inf,
  *,
  upper: bool = False,
) -> Any:
  """A field that holds a number of [low, high) or, if `upper`, (low, high]."""
  left, right = '(]' if upper else '[)'

  def check(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    given = value if is_number else math.nan
    if not (low < given <= high if upper else low <= given < high):
      raise refusal(name, f'a number in {left}{low:g}, {high:g}{right}', value)
    if given > _LARGEST:
      raise refusal(name, f'a number ≤ {_LARGEST:g}, of float32', value)
    return value

  return checked(default, check, float)


def switch(default: bool, *, free: bool = False) -> Any:
  """A field that is on or off."""

  def check(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
      raise refusal(name, 'True or False', value)
    return value

  return checked(default, check, bool, free=free)


def choice(default: str | None, known: Sequence[str]) -> Any:
  """A field that holds one of some names."""
  return checked(default, lambda name, value: one_of(name, value, known), str)


def choices(default: str, known: Sequence[str]) -> Any:
  """A field that holds some of some names, comma-separated or a sequence."""

  def check(name: str, value: Any) -> tuple[str, ...]:
    try:
      found = tuple(str(each) for each in sequence(value))
    except ValueError:
      found = ()
    if not found or len(set(found)) != len(found):
      raise refusal(name, 'names, comma-separated, each once', value)
    return tuple(one_of(name, each, known) for each in found)

  return checked(default, check)


def hyperparameter(field: str, name: str, value: Any) -> float:
  """The value of a hyperparameter, in a field of several; '' for none."""
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  positive = name == 'learning_rate'
  if (
    not is_number
    or not 0 <= value <= _LARGEST
    or (positive and not np.float32(value))
  ):
    bound = '> 0' if positive else '≥ 0'
    where = f'{field}.{name}'.lstrip('.')
    raise refusal(where, f'a finite number {bound} of float32', value)
  return float(value)


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
  """The value, if it is a known one."""
  if not isinstance(value, str) or value not in known:
    raise refusal(name, f'one of {", ".join(known)}', value)
  return value


def literal(text: str) -> Any:
  """The Python literal that a text is; raises a ValueError if it is none."""
  try:
    return ast.literal_eval(text)
  # As it documents: some literals have no hash, or are nested too deep.
  except (SyntaxError, TypeError, MemoryError, RecursionError) as e:
    raise ValueError(str(e)) from e


def sequence(value: Any) -> list[Any]:
  """The items of a field that is comma-separated, a literal or a sequence."""
  if isinstance(value, str):
    text = value.strip()
    if text.startswith(('(', '[')):
      return sequence(literal(text))
    return [part.strip() for part in text.split(',') if part.strip()]
  if isinstance(value, Sequence) and not isinstance(value, bytes):
    return list(value)
  return [value]


def config_dict(cls: Any) -> ml_collections.ConfigDict:
  """The defaults of a configuration, each overridable by a flag."""
  config = ml_collections.ConfigDict()
  for field in dataclasses.fields(cls):
    kind, default = field.metadata['kind'], field.default
    if kind is object:
      # Later values may be of another type than the default.
      default = config_dicts.FieldReference(default, field_type=object)
    elif default is None:
      default = config_dicts.placeholder(kind)
    config[field.name] = default
  return config


def values(cls: Any, config: Mapping[str, Any]) -> dict[str, Any]:
  """The value of every field by name, checked.

  It is None where the default is, for the configuration to fill in.

  Raises:
    InvalidValueError: naming the field, its value and what is allowed.
  """
  fields = {field.name: field for field in dataclasses.fields(cls)}
  for name in config:
    if name not in fields:
      raise errors.InvalidValueError(
        f'config.{name} is not a setting; there are '
        f'{", ".join(sorted(fields))}.'
      )
  if missing := sorted(fields.keys() - set(config)):
    raise errors.InvalidValueError(
      f'config.{missing[0]} is missing; start from the get_config of '
      f'{cls.__module__}.'
    )
  found = {}
  for name, field in fields.items():
    value = config[name]
    if isinstance(value, ml_collections.ConfigDict):
      value = value.to_dict()
    if value is not None or field.default is not None:
      value = field.metadata['check'](name, value)
    found[name] = value
  return found
