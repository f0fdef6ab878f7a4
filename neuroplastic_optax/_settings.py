"""The numbers and switches of `neuroplastic`, and its whole rule."""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax

from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _stage
from neuroplastic_optax import modulations


@dataclasses.dataclass(frozen=True)
class Settings(_stage.Stage):
  """The arguments of `neuroplastic` that make α, and the coupled decay."""

  label: ClassVar[str] = ''

  gradient_only: bool
  parameterwise: bool
  activity_weight: Any = _stage.number()
  gradient_weight: Any = _stage.number()
  memory_weight: Any = _stage.number()
  activity_decay: Any = _stage.number(_hyperparameters.DECAY)
  memory_b1: Any = _stage.number(_hyperparameters.DECAY)
  memory_b2: Any = _stage.number(_hyperparameters.DECAY)
  min_alpha: Any = _stage.number()
  max_alpha: Any = _stage.number()
  plasticity_scale: Any = _stage.number(schedule=True)
  weight_decay: Any = _stage.number(schedule=True)
  eps: Any = _stage.number(_hyperparameters.POSITIVE)

  def __post_init__(self) -> None:
    super().__post_init__()
    for name in ('gradient_only', 'parameterwise'):
      check_switch(name, getattr(self, name))
    weights = self.activity_weight, self.gradient_weight, self.memory_weight
    if all(map(_hyperparameters.is_zero, weights)):
      raise ValueError(
        'activity_weight, gradient_weight and memory_weight must not all be '
        f'0, got {weights!r}.'
      )
    _hyperparameters.check_order(
      'min_alpha', self.min_alpha, 'max_alpha', self.max_alpha
    )


def check_switch(name: str, value: Any) -> None:
  """Refuses what is no Python bool, by name."""
  if not isinstance(value, bool):
    raise TypeError(f'{name} must be True or False, got {value!r}.')


class Rule(NamedTuple):
  """All that one update does to a tensor."""

  settings: Settings
  modulation: modulations.Modulation
  homeostasis: _homeostasis.Homeostasis | None

  def at(self, count: jax.Array) -> 'Rule':
    """This rule at update `count`: schedules replaced by their values."""
    return self._map(lambda stage: stage.at(count))

  def cast(self, dtype: Any) -> 'Rule':
    """This rule with its numbers ready for arithmetic in `dtype`."""
    return self._map(lambda stage: stage.cast(dtype))

  def _map(self, function: Callable[[Any], Any]) -> 'Rule':
    return Rule._make(
      None if stage is None else function(stage) for stage in self
    )
