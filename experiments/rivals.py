"""What is measured side by side: our variants and the optimizers people use.

Each is built for a parameter tree, since some have to be told what its leaves
are: `build(params, stacked_axes)`, at the defaults that its authors give.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer

StackedAxes = Callable[[Any, Any], int] | None
Build = Callable[[Any, StackedAxes], optax.GradientTransformation]

REFERENCE = 'adamw'


def _ours(**kwargs: Any) -> Build:
  return lambda _, stacked_axes: neuroplastic_optimizer(
    0.1, stacked_axes=stacked_axes, **kwargs
  )


def _over_adam(rule: modulations.Modulation) -> Build:
  return _ours(base=optax.scale_by_adam(), modulation=rule)


OURS: dict[str, Build] = {
  'neuroplastic': _ours(),
  'gradient_only': _ours(gradient_only=True),
  'bfloat16_moments': _ours(state_dtype='bfloat16'),
  'controller': _ours(controller=LearningRateController()),
  'bounded': _ours(modulation=modulations.Gain(1.0, 0.5)),
  'orthogonal': _ours(modulation=modulations.Orthogonal()),
  'gain_adam': _over_adam(modulations.Gain()),
  'momentum_adam': _over_adam(modulations.Momentum()),
  'diagnostics_global': _ours(diagnostics='global'),
  'diagnostics_per_leaf': _ours(diagnostics='per_leaf'),
}


def _fixed(make: Callable[[], optax.GradientTransformation]) -> Build:
  return lambda *_: make()


def muon_dimensions(params: Any, stacked_axes: StackedAxes) -> Any:
  """Which leaves Muon orthogonalises, and along which of their axes.

  By itself `optax.contrib.muon` takes only leaves of rank 2, and so neither
  convolutions nor stacked layers. Embeddings, heads, stems and all that is no
  matrix go to its Adam.

  Args:
    params: the parameters, or their shapes.
    stacked_axes: how many leading axes of a leaf index tensors.

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


RIVALS: dict[str, Build] = {
  'sgdm': _fixed(lambda: optax.sgd(0.01, momentum=0.9)),
  'adamw': _fixed(lambda: optax.adamw(1e-3)),
  'lion': _fixed(lambda: optax.lion(1e-4)),
  'muon': lambda params, stacked_axes: contrib.muon(
    1e-3, muon_weight_dimension_numbers=muon_dimensions(params, stacked_axes)
  ),
  'prodigy': _fixed(contrib.prodigy),
  'schedule_free': _fixed(contrib.schedule_free_adamw),
}

OPTIMIZERS = {**OURS, **RIVALS}
