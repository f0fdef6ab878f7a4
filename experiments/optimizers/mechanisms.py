"""Plasticity mechanisms of the literature, each with a plain optimizer.

`couple_replicas` has no arm, since trials do not know of one another. `ewc` and
`synaptic_intelligence` are told of the boundaries between the tasks of a
stream; in ordinary training there are none, and they are Adam.

Directions that are an optimizer of their own, and those that act on signs or
sizes of the gradient, go with SGD; the others go with Adam.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.optimizers import arm
from experiments.optimizers.arm import Knob
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Numbers
from experiments.optimizers.arm import Setting
from neuroplastic_optax import mechanisms
from neuroplastic_optax import neuroplastic

_SGD_RATE = {LEARNING_RATE: Knob(0.1, 0.01, 1.0)}
_ADAM_RATE = {LEARNING_RATE: Knob(1e-3, 1e-4, 1e-2)}

_register = functools.partial(arm.register, arm.MECHANISMS)


def _kernels(setting: Setting) -> Callable[[Any], Any]:
  """A mask of the leaves of rank 2 and more, stacked axes aside."""
  stacked = setting.stacked_axes or (lambda path, leaf: 0)
  return lambda params: jax.tree.map_with_path(
    lambda path, leaf: jnp.ndim(leaf) - stacked(path, leaf) > 1, params
  )


def _down(
  numbers: Numbers, *directions: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """Directions, then the learning rate."""
  return optax.chain(
    *directions, optax.scale_by_learning_rate(numbers[LEARNING_RATE])
  )


@_register({**_SGD_RATE, 'power': Knob(1.0, 0.5, 2.0)})
def classp(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """CLASSP: weights that have learned much learn less."""
  return _down(numbers, mechanisms.scale_by_classp(power=numbers['power']))


@_register({**_SGD_RATE, 'fraction': Knob(0.1, 0.0, 0.6, log=False)})
def curl_descent(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Curl descent: SGD, where some inputs learn against the gradient."""
  flips = mechanisms.flip_signs(
    numbers['fraction'], stacked_axes=setting.stacked_axes
  )
  return _down(numbers, flips)


@_register(
  {
    LEARNING_RATE: Knob(0.1, 0.01, 1.0),
    'noise': Knob(1e-3, 1e-4, 0.1),
    'decay': Knob(0.999, 0.9, 0.9999),
  }
)
def upgd(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """UPGD: SGD that protects useful weights and perturbs the others."""
  return _down(
    numbers, mechanisms.scale_by_upgd(numbers['decay'], numbers['noise'])
  )


@_register({**_ADAM_RATE, 'strength': Knob(0.01, 1e-3, 10.0)})
def consolidation(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Task-free EWC before Adam: important weights are pulled to their mean."""
  return _down(
    numbers,
    mechanisms.add_consolidation(numbers['strength']),
    optax.scale_by_adam(),
  )


@_register({**_ADAM_RATE, 'strength': Knob(0.01, 1e-3, 10.0)})
def memory_aware(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Task-free MAS before Adam: as `consolidation`, by |g| and not by g²."""
  return _down(
    numbers,
    mechanisms.add_consolidation(numbers['strength'], importance='mas'),
    optax.scale_by_adam(),
  )


@_register({**_ADAM_RATE, 'strength': Knob(100.0, 1.0, 1e4)})
def ewc(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """Online EWC before Adam: what earlier tasks need is kept."""
  return _down(
    numbers,
    mechanisms.elastic_weight_consolidation(numbers['strength']),
    optax.scale_by_adam(),
  )


@_register({**_ADAM_RATE, 'strength': Knob(1.0, 0.01, 100.0)})
def synaptic_intelligence(
  numbers: Numbers, _: Setting
) -> optax.GradientTransformation:
  """Synaptic intelligence before Adam: as `ewc`, by the path of training."""
  return _down(
    numbers,
    mechanisms.synaptic_intelligence(numbers['strength']),
    optax.scale_by_adam(),
  )


@_register({**_ADAM_RATE, 'strength': Knob(1e-3, 1e-5, 0.1)})
def l2_init(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """L2 Init before Adam: weights are pulled to where they began."""
  return _down(
    numbers, mechanisms.regenerate(numbers['strength']), optax.scale_by_adam()
  )


@_register({**_ADAM_RATE, 'strength': Knob(1.0, 0.1, 10.0)})
def metaplasticity(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Metaplasticity after Adam: large weights resist being shrunk."""
  resists = mechanisms.metaplasticity(numbers['strength'], _kernels(setting))
  return _down(numbers, optax.scale_by_adam(), resists)


@_register(_SGD_RATE)
def exponentiated_gradient(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Exponentiated gradient on kernels, SGD on the rest."""
  return optax.chain(_down(numbers), mechanisms.exponentiate(_kernels(setting)))


@_register(_ADAM_RATE)
def kept_signs(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Adam whose kernels stop at 0 before they change sign."""
  return optax.chain(
    _down(numbers, optax.scale_by_adam()),
    mechanisms.keep_signs(_kernels(setting)),
  )


@_register(
  {
    **_ADAM_RATE,
    'shrink': Knob(1e-4, 1e-6, 1e-2),
    'perturb': Knob(1e-4, 1e-6, 1e-2),
  }
)
def shrink_and_perturb(
  numbers: Numbers, _: Setting
) -> optax.GradientTransformation:
  """Adam, with weights made smaller and noisy at every update."""
  return optax.chain(
    _down(numbers, optax.scale_by_adam()),
    mechanisms.shrink_and_perturb(numbers['shrink'], numbers['perturb']),
  )


@_register({**_ADAM_RATE, 'bound': Knob(2.0, 0.5, 10.0)})
def weight_clipping(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Adam within bounds in proportion to those of initial weights."""
  bounds = mechanisms.fan_in_bounds(
    numbers['bound'], stacked_axes=setting.stacked_axes
  )
  return optax.chain(
    _down(numbers, optax.scale_by_adam()), mechanisms.clip_weights(bounds)
  )


@_register({**_ADAM_RATE, 'fraction': Knob(0.1, 0.02, 0.5)})
def sleep(numbers: Numbers, setting: Setting) -> optax.GradientTransformation:
  """Adam that sleeps at the end of each epoch, where grown weights shrink."""
  sleeps = mechanisms.sleep(
    setting.steps_per_epoch,
    numbers['fraction'],
    stacked_axes=setting.stacked_axes,
  )
  return optax.chain(_down(numbers, optax.scale_by_adam()), sleeps)


@_register(
  {**_ADAM_RATE, 'decay': Knob(0.99, 0.9, 0.999)},
  eval_params=mechanisms.eval_params,
)
def hare_and_tortoise(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Adam whose weights return to their average after each epoch."""
  returns = mechanisms.hare_and_tortoise(
    numbers['decay'], setting.steps_per_epoch
  )
  return optax.chain(_down(numbers, optax.scale_by_adam()), returns)


@_register(_ADAM_RATE)
def normalize_and_project(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Adam whose kernels keep their initial norm."""
  return optax.chain(
    _down(numbers, optax.scale_by_adam()),
    mechanisms.normalize_and_project(stacked_axes=setting.stacked_axes),
  )


@_register(
  {**_ADAM_RATE, 'scale': Knob(0.01, 1e-3, 0.1)},
  eval_params=mechanisms.eval_params,
)
def neural_variability(
  numbers: Numbers, _: Setting
) -> optax.GradientTransformation:
  """NVRM: Adam at noisy weights, evaluated without the noise."""
  inner = _down(numbers, optax.scale_by_adam())
  return mechanisms.neural_variability(inner, numbers['scale'])


@_register(
  {LEARNING_RATE: Knob(2e-3, 1e-4, 1e-2), 'rate': Knob(1.0, 0.1, 10.0)}
)
def synergy(numbers: Numbers, setting: Setting) -> optax.GradientTransformation:
  """Adam and NeuroPlastic together, with weights that adapt per tensor."""
  stacked = setting.stacked_axes
  both = {
    'adam': optax.scale_by_adam(),
    'plastic': neuroplastic(stacked_axes=stacked),
  }
  return _down(
    numbers,
    mechanisms.synergy(
      both, 'adaptive', rate=numbers['rate'], stacked_axes=stacked
    ),
  )


@_register(
  {LEARNING_RATE: Knob(1e-3, 1e-5, 0.1), 'epsilon': Knob(0.01, 1e-3, 0.1)}
)
def spsa(numbers: Numbers, _: Setting) -> optax.GradientTransformation:
  """SPSA: two values of the loss make an update, which takes many of them."""
  return _down(
    numbers, mechanisms.simultaneous_perturbation(numbers['epsilon'])
  )


@_register(_ADAM_RATE)
def adam_reset(
  numbers: Numbers, setting: Setting
) -> optax.GradientTransformation:
  """Adam that forgets its moments after each epoch."""
  forgets = mechanisms.reset_moments(
    optax.scale_by_adam(), setting.steps_per_epoch
  )
  return _down(numbers, forgets)
