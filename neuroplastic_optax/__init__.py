"""NeuroPlastic, the plasticity-modulated optimizer, for Optax.

`neuroplastic_optimizer` is the complete optimizer, and `neuroplastic` the
transformation in it, which modulates the update of any Optax transformation.
`modulations` has the rules by which it does so, `Homeostasis` and
`LearningRateController` are the stages after them, and `get_diagnostics` reads
what the last update did. `schedules` and `scopes` say when and where plasticity
acts. `mechanisms` has other plasticity mechanisms of the literature.

Source: Jiang et al., *NeuroPlastic: A Plasticity-Modulated Optimizer for
Biologically Inspired Learning Dynamics*, arXiv:2604.26297 (2026).
"""

from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes
from neuroplastic_optax._diagnostics import get_diagnostics
from neuroplastic_optax._neuroplastic import neuroplastic
from neuroplastic_optax._optimizer import neuroplastic_optimizer
from neuroplastic_optax._stages import Homeostasis
from neuroplastic_optax._stages import LearningRateController
from neuroplastic_optax._state import NeuroplasticState

# In the order of the API reference.
__all__ = (  # noqa: RUF022
  'neuroplastic',
  'neuroplastic_optimizer',
  'modulations',
  'mechanisms',
  'Homeostasis',
  'LearningRateController',
  'scopes',
  'schedules',
  'get_diagnostics',
  'NeuroplasticState',
)

# How pdoc is to read docstrings.
__docformat__ = 'google'
