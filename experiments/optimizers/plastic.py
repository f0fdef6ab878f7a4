"""NeuroPlastic as published, and its variants; a new one is a call of `add`."""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

import optax

from experiments.optimizers import arm
from experiments.optimizers.arm import Range
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules

# Without a base.
CLASSIC = {**arm.SGD_RATE, **arm.L2}
KAPPA = {arm.PLASTICITY_SCALE: Range(2.0, 0.5, 4.0)}
FULL = {**CLASSIC, **KAPPA}
NO_CLIP: dict[str, Any] = {'homeostasis': Homeostasis(max_update_norm=None)}
_ABLATION: dict[str, Any] = dict(
  gradient_only=True, min_alpha=0.5, max_alpha=1.5
)

_DEFAULTS = inspect.signature(neuroplastic_optimizer).parameters


def add(
  name: str,
  description: str,
  make: Callable[[arm.Values, arm.Context], dict[str, Any]] | None = None,
  *,
  family: str = arm.NEUROPLASTIC,
  hyperparameters: Mapping[str, Range] = FULL,
  **options: Any,
) -> None:
  """Registers an arm of `neuroplastic_optimizer`.

  Args:
    name: what it is called.
    description: what it is, in a sentence.
    make: further `options`, from a value of each hyperparameter and the
      context.
    family: of `arm.FAMILIES`.
    hyperparameters: the learning rate among them. The weight decay is 0, and κ
      the library's, where the arm has none; else κ is warmed up over the
      context's epochs.
    **options: the arguments of `neuroplastic_optimizer` that are not its
      defaults. The learning rate, the weight decay and κ are passed as they are
      unless these say otherwise.
  """

  def build(
    values: arm.Values, context: arm.Context
  ) -> optax.GradientTransformationExtraArgs:
    arguments = dict(
      weight_decay=values.get('weight_decay', 0.0),
      diagnostics=context.diagnostics,
      stacked_axes=context.stacked_axes,
    )
    if arm.PLASTICITY_SCALE in hyperparameters:
      arguments['plasticity_scale'] = schedules.epoch_warmup(
        values[arm.PLASTICITY_SCALE],
        context.warmup_epochs,
        context.steps_per_epoch,
      )
    made = make(values, context) if make else {}
    return neuroplastic_optimizer(
      values[arm.LEARNING_RATE], **{**arguments, **options, **made}
    )

  low, high = (
    options.get(bound, _DEFAULTS[bound].default)
    for bound in ('min_alpha', 'max_alpha')
  )
  arm.add(
    arm.Arm(name, family, description, hyperparameters, build, (low, high))
  )


add('full', 'NeuroPlastic as published: α in [0.2, 2], κ = 2 after a warm-up.')
add(
  'gradient_only',
  'The published ablation, with the clip range it was published with.',
  hyperparameters=CLASSIC,
  **_ABLATION,
)
add(
  'neuroplastic',
  "NeuroPlastic with the library's defaults: κ = 1 from the start.",
  hyperparameters=CLASSIC,
)
add(
  'full_no_clip',
  'The full arm without the norm clip of homeostasis.',
  **NO_CLIP,
)
add(
  'gradient_only_no_clip',
  'The published ablation without the norm clip of homeostasis.',
  hyperparameters=CLASSIC,
  **_ABLATION,
  **NO_CLIP,
)
add(
  'bfloat16_moments',
  'The full arm with its moments in half the bytes.',
  state_dtype='bfloat16',
)
add(
  'controlled',
  'The full arm with the learning-rate controller over all leaves.',
  controller=LearningRateController(),
)
add(
  'bounded',
  'The bounded residual.',
  modulation=modulations.Gain(strength=1.0, max_ratio=0.5),
)
add(
  'orthogonal', 'The orthogonal residual.', modulation=modulations.Orthogonal()
)
