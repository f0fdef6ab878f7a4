"""NeuroPlastic as published, and its variants.

A new variant is a decorated function that returns arguments of
`neuroplastic_optimizer`; see `variant`. Where those depend on the values of
hyperparameters or on the training, call `add`.
"""

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
CLASSIC = {
  arm.LEARNING_RATE: Range(0.1, 0.01, 1.0),
  'weight_decay': Range(0.0, 1e-6, 1e-2),
}
KAPPA = {arm.PLASTICITY_SCALE: Range(2.0, 0.5, 4.0)}
FULL = {**CLASSIC, **KAPPA}
NO_CLIP = {'homeostasis': Homeostasis(max_update_norm=None)}

_DEFAULTS = inspect.signature(neuroplastic_optimizer).parameters


def add(
  name: str,
  family: str,
  description: str,
  hyperparameters: Mapping[str, Range],
  options: Callable[[arm.Values, arm.Context], dict[str, Any]],
) -> None:
  """Registers an arm of `neuroplastic_optimizer`.

  Args:
    name: what it is called.
    family: of `arm.FAMILIES`.
    description: what it is, in a sentence.
    hyperparameters: the learning rate among them. The weight decay is 0, and κ
      the library's, where the arm has none; else κ is warmed up over the
      context's epochs.
    options: from a value of each hyperparameter and the context, the arguments
      of `neuroplastic_optimizer` that are not its defaults. The learning rate,
      the weight decay and κ are passed as they are unless these say otherwise.
  """

  def build(
    values: arm.Values, context: arm.Context
  ) -> optax.GradientTransformationExtraArgs:
    shared = dict(
      weight_decay=values.get('weight_decay', 0.0),
      diagnostics=context.diagnostics,
      stacked_axes=context.stacked_axes,
    )
    if arm.PLASTICITY_SCALE in hyperparameters:
      shared['plasticity_scale'] = schedules.epoch_warmup(
        values[arm.PLASTICITY_SCALE],
        context.warmup_epochs,
        context.steps_per_epoch,
      )
    return neuroplastic_optimizer(
      values[arm.LEARNING_RATE], **(shared | options(values, context))
    )

  defaults = {name: each.default for name, each in hyperparameters.items()}
  chosen = options(defaults, arm.PUBLISHED)
  low, high = (
    chosen.get(bound, _DEFAULTS[bound].default)
    for bound in ('min_alpha', 'max_alpha')
  )
  arm.add(
    arm.Arm(
      name,
      family,
      description,
      hyperparameters,
      build,
      alpha_bounds=(low, high),
    )
  )


def variant(
  family: str, hyperparameters: Mapping[str, Range]
) -> Callable[[Callable[[], dict[str, Any]]], Callable[[], dict[str, Any]]]:
  """Registers the decorated function as an arm of its name; see `add`."""

  def decorate(options: Callable[[], dict[str, Any]]) -> Any:
    add(
      options.__name__,
      family,
      arm.describe(options),
      hyperparameters,
      lambda values, context: options(),
    )
    return options

  return decorate


@variant(arm.NEUROPLASTIC, FULL)
def full() -> dict[str, Any]:
  """NeuroPlastic as published: α in [0.2, 2], κ = 2 after a warm-up."""
  return {}


@variant(arm.NEUROPLASTIC, CLASSIC)
def gradient_only() -> dict[str, Any]:
  """The published ablation, with the clip range it was published with."""
  return dict(gradient_only=True, min_alpha=0.5, max_alpha=1.5)


@variant(arm.NEUROPLASTIC, CLASSIC)
def neuroplastic() -> dict[str, Any]:
  """NeuroPlastic with the library's defaults: κ = 1 from the start."""
  return {}


@variant(arm.NEUROPLASTIC, FULL)
def full_no_clip() -> dict[str, Any]:
  """The full arm without the norm clip of homeostasis."""
  return dict(NO_CLIP)


@variant(arm.NEUROPLASTIC, CLASSIC)
def gradient_only_no_clip() -> dict[str, Any]:
  """The published ablation without the norm clip of homeostasis."""
  return dict(gradient_only=True, min_alpha=0.5, max_alpha=1.5, **NO_CLIP)


@variant(arm.NEUROPLASTIC, FULL)
def bfloat16_moments() -> dict[str, Any]:
  """The full arm with its moments in half the bytes."""
  return dict(state_dtype='bfloat16')


@variant(arm.NEUROPLASTIC, FULL)
def controlled() -> dict[str, Any]:
  """The full arm with the learning-rate controller over all leaves."""
  return dict(controller=LearningRateController())


@variant(arm.NEUROPLASTIC, FULL)
def bounded() -> dict[str, Any]:
  """The bounded residual."""
  return dict(modulation=modulations.Gain(strength=1.0, max_ratio=0.5))


@variant(arm.NEUROPLASTIC, FULL)
def orthogonal() -> dict[str, Any]:
  """The orthogonal residual."""
  return dict(modulation=modulations.Orthogonal())
