"""The models of the experiments, by name.

A new model is a new module here that puts its specification into `MODELS`.
"""

from experiments import discovery
from experiments.models.model import count
from experiments.models.model import ImageModel
from experiments.models.model import in_order
from experiments.models.model import MODELS
from experiments.models.model import ParameterTree
from experiments.models.model import StackedAxes
from experiments.models.model import STACKS
from experiments.models.model import TREES

__all__ = [
  'MODELS',
  'STACKS',
  'ImageModel',
  'ParameterTree',
  'StackedAxes',
  'count',
  'in_order',
  'trees',
]

discovery.import_all(__name__, __path__)


def trees() -> dict[str, ParameterTree]:
  """All parameter trees whose updates can be measured, by name."""
  images = {name: model.tree() for name, model in MODELS.items()}
  return images | STACKS | TREES
