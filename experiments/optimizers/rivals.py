"""The optimizers that people use, as their authors ship them."""

import functools
from typing import Any

import jax
import optax
from optax import contrib

from experiments.optimizers import arm
from experiments.optimizers.arm import Knob
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Numbers
from experiments.optimizers.arm import Setting

# What times and sizes are told as multiples of.
REFERENCE = 'adamw'

_L2 = {'weight_decay': Knob(0.0, 1e-6, 1e-2)}
_ADAM_RATE = {LEARNING_RATE: Knob(1e-3, 1e-4, 1e-2)}


def _decayed(
  numbers: Numbers, optimizer: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """L2 regularisation: λθ joins the gradient."""
  return optax.chain(
    optax.add_decayed_weights(numbers['weight_decay']), optimizer
  )


@arm.register({LEARNING_RATE: Knob(0.1, 0.01, 1.0), **_L2})
def sgd(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Plain stochastic gradient descent."""
  return _decayed(numbers, optax.sgd(numbers[LEARNING_RATE]))


@arm.register({LEARNING_RATE: Knob(0.01, 1e-3, 1.0), **_L2})
def sgdm(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """SGD with momentum 0.9."""
  return _decayed(numbers, optax.sgd(numbers[LEARNING_RATE], momentum=0.9))


@arm.register({**_ADAM_RATE, **_L2})
def adam(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Adam, β = (0.9, 0.999)."""
  return _decayed(numbers, optax.adam(numbers[LEARNING_RATE]))


@arm.register({**_ADAM_RATE, 'weight_decay': Knob(0.01, 1e-4, 1.0)})
def adamw(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """AdamW: Adam with a decoupled weight decay, 0.01 by default."""
  return optax.adamw(
    numbers[LEARNING_RATE], weight_decay=numbers['weight_decay']
  )


@arm.register(
  {
    LEARNING_RATE: Knob(1e-4, 1e-5, 1e-2),
    'weight_decay': Knob(1e-3, 1e-4, 1.0),
  }
)
def lion(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Lion: the sign of an interpolated momentum."""
  return optax.lion(
    numbers[LEARNING_RATE], weight_decay=numbers['weight_decay']
  )


@arm.register(
  {
    LEARNING_RATE: Knob(1e-3, 1e-4, 0.1),
    'weight_decay': Knob(0.0, 1e-4, 1.0),
  }
)
def muon(numbers: Numbers, setting: Setting) -> optax.GradientTransformation:
  """Muon: orthogonalised momentum of matrices and convolutions, else Adam."""
  return contrib.muon(
    numbers[LEARNING_RATE],
    weight_decay=numbers['weight_decay'],
    adam_weight_decay=numbers['weight_decay'],
    muon_weight_dimension_numbers=functools.partial(
      muon_dimensions, stacked_axes=setting.stacked_axes
    ),
  )


def muon_dimensions(params: Any, stacked_axes: Any = None) -> Any:
  """Which leaves Muon orthogonalises, and along which of their axes.

  By itself `optax.contrib.muon` takes only leaves of rank 2, and so neither
  convolutions nor stacked layers. Embeddings, heads, stems and all that is no
  matrix go to its Adam.

  Args:
    params: the parameters, or their shapes.
    stacked_axes: how many leading axes of a leaf index tensors, a callable of
      its path and the leaf; None for none.

  Returns:
    A tree for `muon_weight_dimension_numbers`, with None for Adam's leaves.
  """

  def dimensions(path: Any, leaf: Any) -> contrib.MuonDimensionNumbers | None:
    first = stacked_axes(path, leaf) if stacked_axes else 0
    name = jax.tree_util.keystr(path).lower()
    if any(part in name for part in ('embedding', 'head', 'stem')):
      return None
    if leaf.ndim - first < 2:
      return None
    axes = tuple(range(first, leaf.ndim))
    return contrib.MuonDimensionNumbers(axes[:-1], axes[-1:])

  return jax.tree.map_with_path(dimensions, params)


@arm.register(
  {LEARNING_RATE: Knob(1.0, 0.1, 10.0), 'weight_decay': Knob(0.0, 1e-4, 1.0)}
)
def prodigy(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Prodigy: Adam that estimates its own learning rate, times this one."""
  return contrib.prodigy(
    numbers[LEARNING_RATE], weight_decay=numbers['weight_decay']
  )


@arm.register(
  {
    LEARNING_RATE: Knob(2.5e-3, 1e-4, 0.05),
    'weight_decay': Knob(0.0, 1e-4, 1.0),
  },
  eval_params=contrib.schedule_free_eval_params,
)
def schedule_free(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Schedule-Free AdamW: an average of the iterates is what is evaluated."""
  return contrib.schedule_free_adamw(
    numbers[LEARNING_RATE], weight_decay=numbers['weight_decay']
  )
