"""NeuroPlastic, the plasticity-modulated optimizer, for Optax."""

from neuroplastic_optax import modulations, schedules
from neuroplastic_optax._homeostasis import Homeostasis
from neuroplastic_optax._optimizer import neuroplastic_optimizer
from neuroplastic_optax._transform import NeuroplasticState, neuroplastic

__all__ = (
  'Homeostasis',
  'NeuroplasticState',
  'modulations',
  'neuroplastic',
  'neuroplastic_optimizer',
  'schedules',
)
