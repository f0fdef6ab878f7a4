"""NeuroPlastic, the plasticity-modulated optimizer, for Optax."""

from neuroplastic_optax import modulations
from neuroplastic_optax import schedules
from neuroplastic_optax._homeostasis import Homeostasis
from neuroplastic_optax._optimizer import neuroplastic_optimizer
from neuroplastic_optax._transform import neuroplastic
from neuroplastic_optax._transform import NeuroplasticState

__all__ = (
  'Homeostasis',
  'NeuroplasticState',
  'modulations',
  'neuroplastic',
  'neuroplastic_optimizer',
  'schedules',
)
