"""NeuroPlastic as published, its variants, and the same over other optimizers.

A new variant is a decorated function: it takes the numbers that it declares and
returns arguments of `neuroplastic_optimizer`.
"""

from collections.abc import Callable
import inspect
from typing import Any

import optax

from experiments.optimizers import arm
from experiments.optimizers.arm import Knob
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules

_DEFAULTS = inspect.signature(neuroplastic_optimizer).parameters
_CLASSIC = {
  arm.LEARNING_RATE: Knob(0.1, 0.01, 1.0),
  'weight_decay': Knob(0.0, 1e-6, 1e-2),
}
_OVER_ADAM = {
  arm.LEARNING_RATE: Knob(1e-3, 1e-4, 1e-2),
  'weight_decay': Knob(0.0, 1e-4, 1.0),
}
_KAPPA = {'plasticity_scale': Knob(2.0, 0.5, 4.0)}
_STRENGTH = {'strength': Knob(0.15, 0.05, 1.0)}


def _plastic(
  **knobs: Knob,
) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., dict[str, Any]]]:
  """Registers an arm of `neuroplastic_optimizer`.

  κ is warmed up over the setting's epochs where the arm has that knob.

  Args:
    **knobs: the learning rate, κ and the weight decay, where the arm has them;
      all others are arguments of the decorated function.
  """

  def decorate(options: Callable[..., dict[str, Any]]) -> Any:
    shared = (arm.LEARNING_RATE, 'weight_decay', 'plasticity_scale')
    own = [name for name in knobs if name not in shared]

    def build(
      numbers: arm.Numbers, setting: arm.Setting
    ) -> optax.GradientTransformationExtraArgs:
      chosen = options(**{name: numbers[name] for name in own})
      if 'plasticity_scale' in knobs:
        chosen['plasticity_scale'] = schedules.epoch_warmup(
          numbers['plasticity_scale'],
          setting.warmup_epochs,
          setting.steps_per_epoch,
        )
      return neuroplastic_optimizer(
        numbers[arm.LEARNING_RATE],
        weight_decay=numbers['weight_decay'],
        diagnostics=setting.diagnostics,
        stacked_axes=setting.stacked_axes,
        **chosen,
      )

    defaults = options(**{name: knobs[name].default for name in own})
    low, high = (
      defaults.get(name, _DEFAULTS[name].default)
      for name in ('min_alpha', 'max_alpha')
    )
    name = options.__name__
    arm.ARMS[name] = arm.Arm(
      name, arm.describe(options), knobs, build, alpha_bounds=(low, high)
    )
    return options

  return decorate


@_plastic(**_CLASSIC, **_KAPPA)
def full() -> dict[str, Any]:
  """NeuroPlastic as published: α in [0.2, 2], κ = 2 after a warm-up."""
  return {}


@_plastic(**_CLASSIC)
def gradient_only() -> dict[str, Any]:
  """The published ablation, with the clip range it was published with."""
  return dict(gradient_only=True, min_alpha=0.5, max_alpha=1.5)


@_plastic(**_CLASSIC)
def neuroplastic() -> dict[str, Any]:
  """NeuroPlastic with the library's defaults: κ = 1 from the start."""
  return {}


@_plastic(**_CLASSIC, **_KAPPA)
def bfloat16_moments() -> dict[str, Any]:
  """The full arm with its moments in half the bytes."""
  return dict(state_dtype='bfloat16')


@_plastic(**_CLASSIC, **_KAPPA)
def controlled() -> dict[str, Any]:
  """The full arm with the learning-rate controller over all leaves."""
  return dict(controller=LearningRateController())


@_plastic(**_CLASSIC, **_KAPPA)
def bounded() -> dict[str, Any]:
  """The bounded residual."""
  return dict(modulation=modulations.Gain(strength=1.0, max_ratio=0.5))


@_plastic(**_CLASSIC, **_KAPPA)
def orthogonal() -> dict[str, Any]:
  """The orthogonal residual."""
  return dict(modulation=modulations.Orthogonal())


def _over_adam(rule: modulations.Modulation) -> dict[str, Any]:
  """A rule over Adam without homeostasis, its decay decoupled as AdamW's."""
  return dict(
    base=optax.scale_by_adam(), modulation=rule, decoupled_weight_decay=True
  )


@_plastic(**_OVER_ADAM, **_KAPPA, **_STRENGTH)
def gain_adam(strength: Any) -> dict[str, Any]:
  """A gain over Adam, without homeostasis."""
  return _over_adam(modulations.Gain(strength))


@_plastic(**_OVER_ADAM, **_KAPPA, **_STRENGTH)
def momentum_adam(strength: Any) -> dict[str, Any]:
  """Plasticity on Adam's momentum, without homeostasis."""
  return _over_adam(modulations.Momentum(strength))


@_plastic(**_OVER_ADAM, **_KAPPA, **_STRENGTH)
def trust_ratio_adam(strength: Any) -> dict[str, Any]:
  """The trust ratio over Adam, without homeostasis."""
  return _over_adam(modulations.TrustRatio(strength))
