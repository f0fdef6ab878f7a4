"""The models of the experiments, by name.

A new model is a module that puts its specification into `MODELS`, and is
imported here.
"""

from experiments.models import cnn
from experiments.models import leaves
from experiments.models import mlp
from experiments.models import resnet
from experiments.models import transformer
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
  'cnn',
  'count',
  'in_order',
  'leaves',
  'mlp',
  'resnet',
  'transformer',
  'trees',
]


def trees() -> dict[str, ParameterTree]:
  """All parameter trees whose updates can be measured, by name."""
  images = {name: model.tree() for name, model in MODELS.items()}
  return images | STACKS | TREES
