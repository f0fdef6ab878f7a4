"""The one registry of optimizers: what trains, is measured and is compiled.

A new one is a decorated function, see `arm.register`, or a variant of
NeuroPlastic, see `plastic.add`, in a module that is imported here.
"""

from experiments.optimizers import ablations as ablations
from experiments.optimizers import controls as controls
from experiments.optimizers import hybrids as hybrids
from experiments.optimizers import mechanisms as mechanisms
from experiments.optimizers import plastic as plastic
from experiments.optimizers import regeneration as regeneration
from experiments.optimizers import rivals as rivals
from experiments.optimizers.arm import Arm as Arm
from experiments.optimizers.arm import ARMS as ARMS
from experiments.optimizers.arm import Context as Context
from experiments.optimizers.arm import FAMILIES as FAMILIES
from experiments.optimizers.arm import LEARNING_RATE as LEARNING_RATE
from experiments.optimizers.arm import PLASTICITY_SCALE as PLASTICITY_SCALE
from experiments.optimizers.arm import PUBLISHED as PUBLISHED
from experiments.optimizers.arm import Range as Range
from experiments.optimizers.arm import Values as Values
