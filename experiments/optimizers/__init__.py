"""The one registry of optimizers: what trains, is measured and is compiled.

A new one is a decorated function in a module here; see `arm.register`.
"""

from experiments import discovery
from experiments.optimizers.arm import Arm
from experiments.optimizers.arm import ARMS
from experiments.optimizers.arm import Knob
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Numbers
from experiments.optimizers.arm import PLASTICITY_SCALE
from experiments.optimizers.arm import PUBLISHED
from experiments.optimizers.arm import Setting

__all__ = [
  'ARMS',
  'LEARNING_RATE',
  'PLASTICITY_SCALE',
  'PUBLISHED',
  'Arm',
  'Knob',
  'Numbers',
  'Setting',
]

discovery.import_all(__name__, __path__)
