"""The models of the experiments, by name.

A new model is a module that puts its specification into `MODELS`, and is
imported here.
"""

from experiments.models import cnn as cnn
from experiments.models import mlp as mlp
from experiments.models import resnet as resnet
from experiments.models import transformer as transformer
from experiments.models.model import count as count
from experiments.models.model import ImageModel as ImageModel
from experiments.models.model import in_order as in_order
from experiments.models.model import leaves as leaves
from experiments.models.model import MODELS as MODELS
from experiments.models.model import ParameterTree as ParameterTree
from experiments.models.model import StackedAxes as StackedAxes
from experiments.models.model import STACKS as STACKS


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
