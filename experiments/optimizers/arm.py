"""What every optimizer under comparison is: an arm, and the registry of them.

An arm declares its hyperparameters, with their defaults and the ranges in which
they are tuned, and builds an Optax transformation from their values. Values may
be tracers: a grid of them is trained in one program, and the optimizer is built
inside the function that is mapped over it.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Literal, TypeAlias

import optax

# Families of arms, in the order in which reports show them.
NEUROPLASTIC = 'NeuroPlastic'
CONTROLS = 'controls'
SIGNALS = 'signals of α'
HYBRIDS = 'α over another optimizer'
MECHANISMS = 'mechanisms of plasticity'
OTHERS = 'other optimizers'
FAMILIES = (NEUROPLASTIC, CONTROLS, SIGNALS, HYBRIDS, MECHANISMS, OTHERS)

LEARNING_RATE = 'learning_rate'
PLASTICITY_SCALE = 'plasticity_scale'


@dataclasses.dataclass(frozen=True)
class Context:
  """What an optimizer may want to know of the training it is built for.

  Attributes:
    steps_per_epoch: updates an epoch.
    epochs: epochs in all.
    warmup_epochs: how many epochs the warm-up of κ takes.
    diagnostics: what NeuroPlastic keeps of its last update, if anything.
    stacked_axes: of the model's leaves, as the library's argument.
    order: path prefixes of the model's leaves, in its order; None if unknown.
  """

  steps_per_epoch: int
  epochs: int
  warmup_epochs: int
  diagnostics: Literal['global', 'per_leaf'] | None = None
  stacked_axes: Callable[[Any, Any], int] | None = None
  order: tuple[str, ...] | None = None


# The published run: 10 epochs of 60,000 images, 128 at a time.
PUBLISHED = Context(steps_per_epoch=469, epochs=10, warmup_epochs=2)


@dataclasses.dataclass(frozen=True)
class Range:
  """A hyperparameter: its default, and the range in which it is tuned.

  From that it is drawn uniformly, if `log` on a logarithmic scale.
  """

  default: float
  low: float
  high: float
  log: bool = True


# What several arms have.
SGD_RATE = {LEARNING_RATE: Range(0.1, 0.01, 1.0)}
ADAM_RATE = {LEARNING_RATE: Range(1e-3, 1e-4, 1e-2)}
L2 = {'weight_decay': Range(0.0, 1e-6, 1e-2)}
DECOUPLED = {'weight_decay': Range(0.0, 1e-4, 1.0)}

# By name, values of hyperparameters: Python numbers, tracers or, for the
# learning rate, a schedule of the update count.
Values = Mapping[str, Any]
Optimizer: TypeAlias = optax.GradientTransformation
Build = Callable[[Values, Context], Optimizer]
EvalParams = Callable[[optax.OptState, optax.Params], optax.Params]


@dataclasses.dataclass(frozen=True)
class Arm:
  """One optimizer under comparison.

  Attributes:
    name: what it is called on the command line.
    family: one of `FAMILIES`, by which reports group arms.
    description: what it is, in a sentence.
    hyperparameters: the learning rate first.
    build: the transformation, from a value of each of them and what is known of
      the training.
    alpha_bounds: α_min and α_max, where it has an α and can keep diagnostics.
    eval_params: the parameters to evaluate at, from its state and the
      parameters that it trains; None where those are the same.
    inactive: whether its state says which share of each leaf is inactive, see
      `mechanisms.inactive_fraction`.
  """

  name: str
  family: str
  description: str
  hyperparameters: Mapping[str, Range]
  build: Build
  alpha_bounds: tuple[float, float] | None = None
  eval_params: EvalParams | None = None
  inactive: bool = False

  @property
  def learning_rate(self) -> float:
    """The learning rate where the run does not say."""
    return self.hyperparameters[LEARNING_RATE].default

  def values(self, given: Values) -> dict[str, Any]:
    """A value for each hyperparameter: the one given, else the default."""
    return {
      name: given.get(name, each.default)
      for name, each in self.hyperparameters.items()
    }


# By name, in the order in which programs list them.
ARMS: dict[str, Arm] = {}


def add(arm: Arm) -> None:
  """Registers an arm; raises a ValueError if another has its name."""
  if arm.name in ARMS:
    raise ValueError(f'two arms are called {arm.name!r}')
  ARMS[arm.name] = arm


def register(
  family: str,
  hyperparameters: Mapping[str, Range],
  *,
  eval_params: EvalParams | None = None,
  inactive: bool = False,
) -> Callable[[Build], Build]:
  """Registers the decorated function as the `build` of an arm of its name."""

  def decorate(build: Build) -> Build:
    name, sentence = build.__name__, (build.__doc__ or '').partition('\n')[0]
    more: Any = {'eval_params': eval_params, 'inactive': inactive}
    add(Arm(name, family, sentence, hyperparameters, build, **more))
    return build

  return decorate
