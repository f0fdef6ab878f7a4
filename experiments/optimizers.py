"""The registry of arms: optimizers under comparison, by name.

An arm is a function of a learning rate and of what the run is like. The
learning rate may be a tracer: arms are built inside `vmap` over replicas. A new
arm is one decorated function.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

import optax

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules


@dataclasses.dataclass(frozen=True)
class Setting:
  """What an arm may want to know of the run.

  Attributes:
    steps_per_epoch: updates an epoch.
    epochs: epochs in all.
    plasticity_scale: κ after the warm-up.
    warmup_epochs: how many epochs the warm-up of κ takes.
    weight_decay: λ of the arms that are not defined by one of their own.
    diagnostics: what the arms that can are to keep of their last update.
    stacked_axes: of the model's leaves, as the library's argument.
  """

  steps_per_epoch: int
  epochs: int
  plasticity_scale: float
  warmup_epochs: int
  weight_decay: float
  diagnostics: Literal['per_leaf'] | None = None
  stacked_axes: Callable[[Any, Any], int] | None = None


# The published run: 10 epochs of 60,000 images, 128 at a time.
PUBLISHED = Setting(
  steps_per_epoch=469,
  epochs=10,
  plasticity_scale=2.0,
  warmup_epochs=2,
  weight_decay=0.0,
)

Build = Callable[
  [optax.ScalarOrSchedule, Setting], optax.GradientTransformationExtraArgs
]


@dataclasses.dataclass(frozen=True)
class Arm:
  """One optimizer under comparison.

  Attributes:
    learning_rate: what it uses when the run does not say.
    build: makes the transformation.
    alpha_range: α_min and α_max, if it has an α and keeps diagnostics of it.
  """

  learning_rate: float
  build: Build
  alpha_range: tuple[float, float] | None


ARMS: dict[str, Arm] = {}
SCHEDULES = ('constant', 'cosine')


def _arm(
  learning_rate: float, alpha_range: tuple[float, float] | None = None
) -> Callable[[Build], Build]:
  def register(build: Build) -> Build:
    ARMS[build.__name__] = Arm(learning_rate, build, alpha_range)
    return build

  return register


@_arm(learning_rate=0.1, alpha_range=(0.2, 2.0))
def full(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """NeuroPlastic as published: clip range [0.2, 2], κ after a warm-up."""
  return _plastic(learning_rate, setting)


@_arm(learning_rate=0.1, alpha_range=(0.5, 1.5))
def gradient_only(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The published ablation, with the clip range it was published with."""
  return neuroplastic_optimizer(
    learning_rate,
    gradient_only=True,
    min_alpha=0.5,
    max_alpha=1.5,
    weight_decay=setting.weight_decay,
    diagnostics=setting.diagnostics,
    stacked_axes=setting.stacked_axes,
  )


@_arm(learning_rate=0.1, alpha_range=(0.2, 2.0))
def bfloat16_moments(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The full arm with its moments in half the bytes."""
  return _plastic(learning_rate, setting, state_dtype='bfloat16')


@_arm(learning_rate=0.1, alpha_range=(0.2, 2.0))
def controlled(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The full arm with the learning-rate controller over all leaves."""
  return _plastic(learning_rate, setting, controller=LearningRateController())


@_arm(learning_rate=0.1, alpha_range=(0.2, 2.0))
def bounded(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The bounded residual."""
  rule = modulations.Gain(strength=1.0, max_ratio=0.5)
  return _plastic(learning_rate, setting, modulation=rule)


@_arm(learning_rate=0.1, alpha_range=(0.2, 2.0))
def orthogonal(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The orthogonal residual."""
  return _plastic(learning_rate, setting, modulation=modulations.Orthogonal())


@_arm(learning_rate=1e-3, alpha_range=(0.2, 2.0))
def gain_adam(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """A gain over Adam, without homeostasis."""
  return _over_adam(learning_rate, setting, modulations.Gain())


@_arm(learning_rate=1e-3, alpha_range=(0.2, 2.0))
def momentum_adam(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """Plasticity on Adam's momentum, without homeostasis."""
  return _over_adam(learning_rate, setting, modulations.Momentum())


@_arm(learning_rate=1e-3, alpha_range=(0.2, 2.0))
def trust_ratio_adam(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """The trust ratio over Adam, without homeostasis."""
  return _over_adam(learning_rate, setting, modulations.TrustRatio())


def _plastic(
  learning_rate: optax.ScalarOrSchedule, setting: Setting, **kwargs: Any
) -> optax.GradientTransformationExtraArgs:
  """The full arm, with something of its design changed."""
  return neuroplastic_optimizer(
    learning_rate,
    plasticity_scale=schedules.epoch_warmup(
      setting.plasticity_scale, setting.warmup_epochs, setting.steps_per_epoch
    ),
    weight_decay=setting.weight_decay,
    diagnostics=setting.diagnostics,
    stacked_axes=setting.stacked_axes,
    **kwargs,
  )


def _over_adam(
  learning_rate: optax.ScalarOrSchedule,
  setting: Setting,
  rule: modulations.Modulation,
) -> optax.GradientTransformationExtraArgs:
  """A rule over Adam; as with AdamW, the decay is decoupled."""
  return _plastic(
    learning_rate,
    setting,
    base=optax.scale_by_adam(),
    modulation=rule,
    decoupled_weight_decay=True,
  )


def _decayed(
  setting: Setting, optimizer: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """L2 regularisation: λθ joins the gradient."""
  return optax.chain(optax.add_decayed_weights(setting.weight_decay), optimizer)


@_arm(learning_rate=0.1)
def sgd(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """Plain stochastic gradient descent."""
  return _decayed(setting, optax.sgd(learning_rate))


@_arm(learning_rate=0.01)
def sgdm(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """SGD with momentum 0.9."""
  return _decayed(setting, optax.sgd(learning_rate, momentum=0.9))


@_arm(learning_rate=1e-3)
def adam(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """Adam, β = (0.9, 0.999)."""
  return _decayed(setting, optax.adam(learning_rate))


@_arm(learning_rate=1e-3)
def adamw(
  learning_rate: optax.ScalarOrSchedule, setting: Setting
) -> optax.GradientTransformationExtraArgs:
  """AdamW, with a decoupled decay of 0.01 where the run does not say."""
  return optax.adamw(learning_rate, weight_decay=setting.weight_decay or 0.01)


def learning_rate_schedule(
  name: str, peak: optax.ScalarOrSchedule, setting: Setting
) -> optax.ScalarOrSchedule:
  """The learning rate over the run.

  Args:
    name: one of `SCHEDULES`: 'constant', or 'cosine' for a decay to zero at the
      end of the run.
    peak: the learning rate at the start; may be a tracer.
    setting: the run.

  Returns:
    A number or a schedule of the update count.
  """
  if name == 'constant':
    return peak
  steps = setting.epochs * setting.steps_per_epoch
  shape = optax.cosine_decay_schedule(1.0, steps)
  return lambda count: peak * shape(count)
