"""NeuroPlastic, the plasticity-modulated optimizer, for Optax."""

from neuroplastic_optax import modulations
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes
from neuroplastic_optax._controller import LearningRateController
from neuroplastic_optax._diagnostics import get_diagnostics
from neuroplastic_optax._homeostasis import Homeostasis
from neuroplastic_optax._optimizer import neuroplastic_optimizer
from neuroplastic_optax._state import NeuroplasticState
from neuroplastic_optax._transform import neuroplastic

__all__ = (
  'Homeostasis',
  'LearningRateController',
  'NeuroplasticState',
  'get_diagnostics',
  'modulations',
  'neuroplastic',
  'neuroplastic_optimizer',
  'schedules',
  'scopes',
)
