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


def signal_weights() -> dict[str, dict[str, float]]:
  """By the name of an arm, the weights of its signals."""
  found = {}
  for count in (1, 2):
    for kept in itertools.combinations(_WEIGHTS, count):
      total = sum(_WEIGHTS[name] for name in kept)
      found['_'.join(['signal', *kept])] = {
        f'{name}_weight': weight / total if name in kept else 0.0
        for name, weight in _WEIGHTS.items()
      }
  return found


def layers(params: Any) -> Any:
  """A label for each leaf: the path of the layer that it belongs to."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path[:-1]), params
  )


def _add_signals(name: str, weights: dict[str, float]) -> None:
  kept = name.replace('signal_', '').replace('_', ' and ')
  plastic.add(
    name,
    arm.SIGNALS,
    f'The full arm with no signal but {kept} in α.',
    # κ scales what α is above that of the gradient's signal alone.
    plastic.CLASSIC if name == 'signal_gradient' else plastic.FULL,
    lambda values, context: dict(weights),
  )


def _add_unit_rms(signal: str) -> None:
  weights = signal_weights()[f'signal_{signal}']
  plastic.add(
    f'unit_rms_{signal}_no_clip',
    arm.SIGNALS,
    f'The arm unit_rms_no_clip with no signal but {signal} in α.',
    plastic.CLASSIC if signal == 'gradient' else plastic.FULL,
    lambda values, context: {
      **weights,
      **plastic.NO_CLIP,
      'modulation': controls.AT_THE_NORM_OF_THE_BASE,
    },
  )


def _add_gain(
  name: str,
  place: str,
  rule: Callable[[arm.Values, arm.Context], modulations.Gain],
) -> None:
  plastic.add(
    f'gain_adam_{name}',
    arm.HYBRIDS,
    f'A gain over Adam in {place}.',
    hybrids.hyperparameters('gain', 'adam', homeostasis=False),
    lambda values, context: dict(
      base=optax.scale_by_adam(),
      modulation=rule(values, context),
      decoupled_weight_decay=True,
    ),
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


for _name, _weights in signal_weights().items():
  _add_signals(_name, _weights)
plastic.add(
  'memory_only_no_clip',
  arm.NEUROPLASTIC,
  'The arm signal_memory without the norm clip of homeostasis.',
  plastic.FULL,
  lambda values, context: signal_weights()['signal_memory'] | plastic.NO_CLIP,
)
for _name in _WEIGHTS:
  _add_unit_rms(_name)
_add_phase('early')
_add_phase('middle')
_add_phase('late')
_add_scope(scopes.classifier, 'the last layer')
_add_scope(scopes.early_blocks, 'the first half of the other layers')
_add_scope(scopes.late_blocks, 'the second half of the other layers')
plastic.add(
  'controlled_classifier',
  arm.NEUROPLASTIC,
  'The full arm with a learning-rate controller of the last layer.',
  plastic.FULL,
  lambda values, context: dict(
    controller=LearningRateController(scope=scopes.classifier(context.order))
  ),
)


@plastic.variant(arm.NEUROPLASTIC, plastic.FULL)
def controlled_layer() -> dict[str, Any]:
  """The full arm with a learning-rate controller of each layer."""
  return dict(controller=LearningRateController(groups=layers))
