"""The models of the experiments, by name.

A new model is a module that puts its specification into `MODELS`, and is
imported here.
"""

from experiments.models import cnn
from experiments.models import mlp
from experiments.models import resnet
from experiments.models import transformer
from experiments.models.model import count
from experiments.models.model import ImageModel
from experiments.models.model import in_order
from experiments.models.model import leaves
from experiments.models.model import MODELS
from experiments.models.model import ParameterTree
from experiments.models.model import StackedAxes
from experiments.models.model import STACKS

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
  return {
    **{name: model.tree() for name, model in MODELS.items()},
    **STACKS,
    # A million parameters in one leaf, for the price of noise.
    'leaf1m': leaves(1, 1024),
    # 0.8 million parameters in 200 leaves.
    'leaves200': leaves(200, 64),
  }
