"""What the objects that configure a stage have in common.

A stage (a modulation rule, homeostasis, the controller) is a frozen dataclass.
Its numbers are checked when it is built, and they are its leaves as a pytree,
so that a whole optimizer can be built inside `jax.vmap` over them. All other
fields are static; switches among them are checked too.
"""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any, ClassVar, Self

import jax

from neuroplastic_optax import _fields
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _keywords


class Stage:
  """The base class: fields are checked, resolved, and visible to JAX.

  Attributes:
    _owner: what stands before the name of a field in an error message.
    _trees_of_numbers: the names of fields that hold a pytree of numbers or a
      callable, which the subclass checks and resolves itself.
  """

  _owner: ClassVar[str]
  _trees_of_numbers: ClassVar[tuple[str, ...]] = ()

  def __init_subclass__(cls) -> None:
    super().__init_subclass__()
    if '_owner' not in vars(cls):
      cls._owner = f'{cls.__name__}.'
      _keywords.register(cls)
    jax.tree_util.register_pytree_with_keys(
      cls, cls._flatten_with_keys, cls._unflatten
    )

  def __new__(cls, *args: Any, **kwargs: Any) -> Self:
    names = _keywords.arguments(cls)  # type: ignore[arg-type]
    if names is not None:
      _keywords.check(f'{cls.__name__}()', kwargs, names)
    return super().__new__(cls)

  def __post_init__(self) -> None:
    for name, number in _fields.numbers(type(self)).items():
      number.check(self._owner + name, getattr(self, name))
    for name in _fields.switches(type(self)):
      _fields.check_switch(self._owner + name, getattr(self, name))

  def at(self, count: jax.Array) -> Self:
    """This stage at update `count`: every schedule replaced by its value."""
    return self._map(
      lambda name, value, _: _hyperparameters.at(name, value, count)
    )

  def cast(self, dtype: Any) -> Self:
    """This stage with its numbers ready for arithmetic in `dtype`."""

    def cast(_: str, value: Any, number: _fields.Number) -> Any:
      if value is None:
        return None
      return _hyperparameters.cast(value, dtype, number.allowed)

    return self._map(cast)

  def _map(self, function: Callable[[str, Any, _fields.Number], Any]) -> Self:
    """This stage with `function(name, value, number)` for every number."""
    values = self._values()
    for name, number in _fields.numbers(type(self)).items():
      values[name] = function(self._owner + name, values[name], number)
    return self._build(values)

  def _values(self) -> dict[str, Any]:
    fields = dataclasses.fields(self)  # type: ignore[arg-type]
    return {field.name: getattr(self, field.name) for field in fields}

  @classmethod
  def _build(cls, values: dict[str, Any]) -> Self:
    # Not by `__init__`: JAX also unflattens with placeholders for leaves.
    stage = object.__new__(cls)
    for name, value in values.items():
      object.__setattr__(stage, name, value)
    return stage

  def _flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
    leaves, static = [], []
    numbers = {*_fields.numbers(type(self)), *self._trees_of_numbers}
    for name, value in self._values().items():
      if name in numbers and not callable(value):
        leaves.append((jax.tree_util.GetAttrKey(name), value))
      else:
        # A mask or groups may be an unhashable tree; its parts are hashable.
        parts, treedef = jax.tree.flatten(value)
        static.append((name, treedef, tuple(parts)))
    names = tuple(key.name for key, _ in leaves)
    return leaves, (names, tuple(static))

  @classmethod
  def _unflatten(cls, aux: Any, leaves: Iterable[Any]) -> Self:
    names, static = aux
    values = dict(zip(names, leaves, strict=True))
    for name, treedef, parts in static:
      values[name] = jax.tree.unflatten(treedef, parts)
    return cls._build(values)
