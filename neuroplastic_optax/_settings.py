"""The numbers and switches of `neuroplastic`, and its configured stages."""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax

from neuroplastic_optax import _fields
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _stage
from neuroplastic_optax import modulations


@dataclasses.dataclass(frozen=True)
class Settings(_stage.Stage):
  """The arguments of `neuroplastic` that make α, and the coupled decay."""

  _owner: ClassVar[str] = ''

  gradient_only: bool = _fields.switch()
  parameterwise: bool = _fields.switch()
  activity_weight: Any = _fields.hyperparameter()
  gradient_weight: Any = _fields.hyperparameter()
  memory_weight: Any = _fields.hyperparameter()
  activity_decay: Any = _fields.hyperparameter(_hyperparameters.DECAY)
  memory_b1: Any = _fields.hyperparameter(_hyperparameters.DECAY)
  memory_b2: Any = _fields.hyperparameter(_hyperparameters.DECAY)
  min_alpha: Any = _fields.hyperparameter()
  max_alpha: Any = _fields.hyperparameter()
  plasticity_scale: Any = _fields.hyperparameter(schedule=True)
  weight_decay: Any = _fields.hyperparameter(schedule=True)
  eps: Any = _fields.hyperparameter(_hyperparameters.POSITIVE)

  def __post_init__(self) -> None:
    super().__post_init__()
    weights = self.activity_weight, self.gradient_weight, self.memory_weight
    if all(map(_hyperparameters.is_zero, weights)):
      raise ValueError(
        'activity_weight, gradient_weight and memory_weight must not all be '
        f'0, got {weights!r}.'
      )
    _hyperparameters.check_order(
      'min_alpha', self.min_alpha, 'max_alpha', self.max_alpha
    )


class Stages(NamedTuple):
  """What happens to every tensor at an update, but for the controller."""

  settings: Settings
  modulation: modulations.Modulation
  homeostasis: _homeostasis.Homeostasis | None

  @property
  def decays(self) -> bool:
    """Whether there is a coupled decay; not if it is known to be 0."""
    return not _hyperparameters.is_zero(self.settings.weight_decay)

  def at(self, count: jax.Array) -> 'Stages':
    """These stages at update `count`, with the values of their schedules."""
    return self._map(lambda stage: stage.at(count))

  def cast(self, dtype: Any) -> 'Stages':
    """These stages with numbers ready for arithmetic in `dtype`."""
    return self._map(lambda stage: stage.cast(dtype))

  def _map(self, function: Callable[[Any], Any]) -> 'Stages':
    return Stages._make(
      None if stage is None else function(stage) for stage in self
    )
