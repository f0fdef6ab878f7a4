"""The one registry of optimizers: what trains, is measured and is compiled.

A new one is a decorated function, see `arm.register`, or a variant of
NeuroPlastic, see `plastic.add`, in a module that is imported here.
"""

from experiments.optimizers import ablations
from experiments.optimizers import controls
from experiments.optimizers import hybrids
from experiments.optimizers import mechanisms
from experiments.optimizers import plastic
from experiments.optimizers import regeneration
from experiments.optimizers import rivals
from experiments.optimizers.arm import Arm
from experiments.optimizers.arm import ARMS
from experiments.optimizers.arm import Context
from experiments.optimizers.arm import FAMILIES
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import PLASTICITY_SCALE
from experiments.optimizers.arm import PUBLISHED
from experiments.optimizers.arm import Range
from experiments.optimizers.arm import Values

__all__ = [
  'ARMS',
  'FAMILIES',
  'LEARNING_RATE',
  'PLASTICITY_SCALE',
  'PUBLISHED',
  'Arm',
  'Context',
  'Range',
  'Values',
  'ablations',
  'controls',
  'hybrids',
  'mechanisms',
  'plastic',
  'regeneration',
  'rivals',
]
