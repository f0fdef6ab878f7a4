"""Arms of the design space that change one part of α's work.

signal_…               the full arm with only these signals in α; their weights
                       keep their proportion, and sum to 1 as those published do
memory_only_no_clip    signal_memory without the norm clip of homeostasis
unit_rms_…_no_clip     unit_rms_no_clip with only this signal in α
controlled_layer       the full arm with a learning-rate controller of each
                       layer
controlled_classifier  the same of the last layer alone
gain_adam_early        the gain over Adam in one phase of the run alone;
                       likewise _middle and _late
gain_adam_classifier   the gain over Adam in one part of the model alone;
                       likewise _early_blocks and _late_blocks
"""

from collections.abc import Callable
import itertools
from typing import Any, Literal

import jax
import optax

from experiments.optimizers import arm
from experiments.optimizers import controls
from experiments.optimizers import hybrids
from experiments.optimizers import plastic
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes

_WEIGHTS = {'activity': 0.4, 'gradient': 0.4, 'memory': 0.2}


def _only(*kept: str) -> dict[str, Any]:
  """Arguments of `plastic.add` for an arm with no other signals."""
  total = sum(_WEIGHTS[name] for name in kept)
  weights = {
    f'{name}_weight': weight / total if name in kept else 0.0
    for name, weight in _WEIGHTS.items()
  }
  # κ scales what α is above that of the gradient's signal alone.
  known = plastic.CLASSIC if kept == ('gradient',) else plastic.FULL
  return {'hyperparameters': known, **weights}


def layers(params: Any) -> Any:
  """A label for each leaf: the path of the layer that it belongs to."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path[:-1]), params
  )


def _add_gain(
  name: str,
  place: str,
  rule: Callable[[arm.Values, arm.Context], modulations.Gain],
) -> None:
  plastic.add(
    f'gain_adam_{name}',
    f'A gain over Adam in {place}.',
    lambda values, context: dict(modulation=rule(values, context)),
    family=arm.HYBRIDS,
    hyperparameters=hybrids.hyperparameters('gain', 'adam'),
    base=optax.scale_by_adam(),
    decoupled_weight_decay=True,
  )


def _add_phase(phase: Literal['early', 'middle', 'late']) -> None:
  def rule(values: arm.Values, context: arm.Context) -> modulations.Gain:
    strength = schedules.phase(
      values['strength'], phase, context.steps_per_epoch, context.epochs
    )
    return modulations.Gain(strength)

  _add_gain(phase, f'the {phase} phase of the run', rule)


def _add_scope(scope: Callable[..., scopes.Scope], place: str) -> None:
  _add_gain(
    scope.__name__,
    place,
    lambda values, context: modulations.Gain(
      values['strength'], scope=scope(context.order)
    ),
  )


for _count in (1, 2):
  for _kept in itertools.combinations(_WEIGHTS, _count):
    plastic.add(
      '_'.join(['signal', *_kept]),
      f'The full arm with no signal but {" and ".join(_kept)} in α.',
      family=arm.SIGNALS,
      **_only(*_kept),
    )
plastic.add(
  'memory_only_no_clip',
  'The arm signal_memory without the norm clip of homeostasis.',
  **_only('memory'),
  **plastic.NO_CLIP,
)
for _signal in _WEIGHTS:
  plastic.add(
    f'unit_rms_{_signal}_no_clip',
    f'The arm unit_rms_no_clip with no signal but {_signal} in α.',
    family=arm.SIGNALS,
    modulation=controls.AT_THE_NORM_OF_THE_BASE,
    **_only(_signal),
    **plastic.NO_CLIP,
  )
_add_phase('early')
_add_phase('middle')
_add_phase('late')
_add_scope(scopes.classifier, 'the last layer')
_add_scope(scopes.early_blocks, 'the first half of the other layers')
_add_scope(scopes.late_blocks, 'the second half of the other layers')
plastic.add(
  'controlled_classifier',
  'The full arm with a learning-rate controller of the last layer.',
  lambda values, context: dict(
    controller=LearningRateController(scope=scopes.classifier(context.order))
  ),
)
plastic.add(
  'controlled_layer',
  'The full arm with a learning-rate controller of each layer.',
  controller=LearningRateController(groups=layers),
)
