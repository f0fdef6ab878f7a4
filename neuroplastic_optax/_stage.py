"""What the objects that configure a stage have in common.

A stage (a modulation rule, homeostasis, the controller) is a frozen dataclass.
Fields made by `number` are its hyperparameters: they are checked when it is
built, and they are its leaves as a pytree, so that a whole optimizer can be
built inside `jax.vmap` over them. All other fields are static.
"""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any, ClassVar, Self

import jax

from neuroplastic_optax import _hyperparameters

_NUMBER = 'neuroplastic_optax.number'


def number(
  allowed: _hyperparameters.Interval = _hyperparameters.NON_NEGATIVE,
  *,
  default: Any = dataclasses.MISSING,
  schedule: bool = False,
  none: str | None = None,
) -> Any:
  """A field that holds a hyperparameter.

  Args:
    allowed: what a number may be.
    default: its default; without one, the field must be given.
    schedule: whether it may be a callable of the update count.
    none: what `None` means, where it may be `None`.

  Returns:
    A `dataclasses.field`.
  """
  rule = dict(allowed=allowed, schedule=schedule, none=none)
  return dataclasses.field(default=default, metadata={_NUMBER: rule})


class Stage:
  """The base class: numbers checked, resolved, and visible to JAX.

  Attributes:
    label: what stands before the name of a field in a message.
    trees_of_numbers: the names of fields that hold a pytree of numbers or a
      callable, which the subclass checks and resolves itself.
  """

  label: ClassVar[str]
  trees_of_numbers: ClassVar[tuple[str, ...]] = ()

  def __init_subclass__(cls) -> None:
    super().__init_subclass__()
    if 'label' not in vars(cls):
      cls.label = f'{cls.__name__}.'
    jax.tree_util.register_pytree_with_keys(
      cls, cls._flatten_with_keys, cls._unflatten
    )

  def __post_init__(self) -> None:
    for name, rule in self._rules().items():
      _hyperparameters.check(self.label + name, getattr(self, name), **rule)

  def at(self, count: jax.Array) -> Self:
    """This stage at update `count`: every schedule replaced by its value."""
    return self._map(lambda value, _: _hyperparameters.at(value, count))

  def cast(self, dtype: Any) -> Self:
    """This stage with its numbers ready for arithmetic in `dtype`."""

    def cast(value: Any, allowed: _hyperparameters.Interval) -> Any:
      return None if value is None else _hyperparameters.cast(value, dtype, allowed)

    return self._map(cast)

  def _map(self, function: Callable[[Any, _hyperparameters.Interval], Any]) -> Self:
    values = self._values()
    for name, rule in self._rules().items():
      values[name] = function(values[name], rule['allowed'])
    return self._build(values)

  def _values(self) -> dict[str, Any]:
    fields = dataclasses.fields(self)  # type: ignore[arg-type]
    return {field.name: getattr(self, field.name) for field in fields}

  @classmethod
  def _rules(cls) -> dict[str, dict[str, Any]]:
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return {
      f.name: f.metadata[_NUMBER] for f in fields if _NUMBER in f.metadata
    }

  @classmethod
  def _build(cls, values: dict[str, Any]) -> Self:
    # Not by `__init__`: JAX also unflattens with placeholders for leaves.
    stage = object.__new__(cls)
    for name, value in values.items():
      object.__setattr__(stage, name, value)
    return stage

  def _flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
    leaves, static = [], []
    numbers = {*self._rules(), *self.trees_of_numbers}
    for name, value in self._values().items():
      if name in numbers and not callable(value):
        leaves.append((jax.tree_util.GetAttrKey(name), value))
      else:
        # A mask or labels may be an unhashable tree; its parts are hashable.
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
