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
from experiments.optimizers.arm import Context
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Optimizer
from experiments.optimizers.arm import Range
from experiments.optimizers.arm import Values
from neuroplastic_optax import mechanisms
from neuroplastic_optax import neuroplastic

_register = functools.partial(arm.register, arm.MECHANISMS)


def _kernels(context: Context) -> Callable[[Any], Any]:
  """A mask of the leaves of rank 2 and more, stacked axes aside."""
  stacked = context.stacked_axes or (lambda path, leaf: 0)
  return lambda params: jax.tree.map_with_path(
    lambda path, leaf: jnp.ndim(leaf) - stacked(path, leaf) > 1, params
  )


def _down(values: Values, *directions: Optimizer) -> Optimizer:
  """Directions, then the learning rate."""
  return optax.chain(
    *directions, optax.scale_by_learning_rate(values[LEARNING_RATE])
  )


def _before_adam(values: Values, mechanism: Optimizer) -> Optimizer:
  """Adam of what a mechanism makes of the gradient."""
  return _down(values, mechanism, optax.scale_by_adam())


def _after_adam(values: Values, mechanism: Optimizer) -> Optimizer:
  """A mechanism applied to the step of Adam."""
  return optax.chain(_down(values, optax.scale_by_adam()), mechanism)


@_register({**arm.SGD_RATE, 'power': Range(1.0, 0.5, 2.0)})
def classp(values: Values, _: Context) -> Optimizer:
  """CLASSP: weights that have learned much learn less."""
  return _down(values, mechanisms.scale_by_classp(power=values['power']))


@_register({**arm.SGD_RATE, 'fraction': Range(0.1, 0.0, 0.6, log=False)})
def curl_descent(values: Values, context: Context) -> Optimizer:
  """Curl descent: SGD, where some inputs learn against the gradient."""
  flips = mechanisms.flip_signs(
    values['fraction'], stacked_axes=context.stacked_axes
  )
  return _down(values, flips)


@_register(
  {
    **arm.SGD_RATE,
    'noise': Range(1e-3, 1e-4, 0.1),
    'decay': Range(0.999, 0.9, 0.9999),
  }
)
def upgd(values: Values, _: Context) -> Optimizer:
  """UPGD: SGD that protects useful weights and perturbs the others."""
  return _down(
    values, mechanisms.scale_by_upgd(values['decay'], values['noise'])
  )


@_register({**arm.ADAM_RATE, 'strength': Range(0.01, 1e-3, 10.0)})
def consolidation(values: Values, _: Context) -> Optimizer:
  """Task-free EWC before Adam: important weights are pulled to their mean."""
  return _before_adam(values, mechanisms.add_consolidation(values['strength']))


@_register({**arm.ADAM_RATE, 'strength': Range(0.01, 1e-3, 10.0)})
def memory_aware(values: Values, _: Context) -> Optimizer:
  """Task-free MAS before Adam: as `consolidation`, by |g| and not by g²."""
  return _before_adam(
    values, mechanisms.add_consolidation(values['strength'], importance='mas')
  )


@_register({**arm.ADAM_RATE, 'strength': Range(100.0, 1.0, 1e4)})
def ewc(values: Values, _: Context) -> Optimizer:
  """Online EWC before Adam: what earlier tasks need is kept."""
  return _before_adam(
    values, mechanisms.elastic_weight_consolidation(values['strength'])
  )


@_register({**arm.ADAM_RATE, 'strength': Range(1.0, 0.01, 100.0)})
def synaptic_intelligence(values: Values, _: Context) -> Optimizer:
  """Synaptic intelligence before Adam: as `ewc`, by the path of training."""
  return _before_adam(
    values, mechanisms.synaptic_intelligence(values['strength'])
  )


@_register({**arm.ADAM_RATE, 'strength': Range(1e-3, 1e-5, 0.1)})
def l2_init(values: Values, _: Context) -> Optimizer:
  """L2 Init before Adam: weights are pulled to where they began."""
  return _before_adam(values, mechanisms.regenerate(values['strength']))


@_register({**arm.ADAM_RATE, 'strength': Range(1.0, 0.1, 10.0)})
def metaplasticity(values: Values, context: Context) -> Optimizer:
  """Metaplasticity after Adam: large weights resist being shrunk."""
  resists = mechanisms.metaplasticity(values['strength'], _kernels(context))
  return _down(values, optax.scale_by_adam(), resists)


@_register(arm.SGD_RATE)
def exponentiated_gradient(values: Values, context: Context) -> Optimizer:
  """Exponentiated gradient on kernels, SGD on the rest."""
  return optax.chain(_down(values), mechanisms.exponentiate(_kernels(context)))


@_register(arm.ADAM_RATE)
def kept_signs(values: Values, context: Context) -> Optimizer:
  """Adam whose kernels stop at 0 before they change sign."""
  return _after_adam(values, mechanisms.keep_signs(_kernels(context)))


@_register(
  {
    **arm.ADAM_RATE,
    'shrink': Range(1e-4, 1e-6, 1e-2),
    'perturb': Range(1e-4, 1e-6, 1e-2),
  }
)
def shrink_and_perturb(values: Values, _: Context) -> Optimizer:
  """Adam, with weights made smaller and noisy at every update."""
  return _after_adam(
    values, mechanisms.shrink_and_perturb(values['shrink'], values['perturb'])
  )


@_register({**arm.ADAM_RATE, 'bound': Range(2.0, 0.5, 10.0)})
def weight_clipping(values: Values, context: Context) -> Optimizer:
  """Adam within bounds in proportion to those of initial weights."""
  bounds = mechanisms.fan_in_bounds(
    values['bound'], stacked_axes=context.stacked_axes
  )
  return _after_adam(values, mechanisms.clip_weights(bounds))


@_register({**arm.ADAM_RATE, 'fraction': Range(0.1, 0.02, 0.5)})
def sleep(values: Values, context: Context) -> Optimizer:
  """Adam that sleeps at the end of each epoch, where grown weights shrink."""
  sleeps = mechanisms.sleep(
    context.steps_per_epoch,
    values['fraction'],
    stacked_axes=context.stacked_axes,
  )
  return _after_adam(values, sleeps)


@_register(
  {**arm.ADAM_RATE, 'decay': Range(0.99, 0.9, 0.999)},
  eval_params=mechanisms.eval_params,
)
def hare_and_tortoise(values: Values, context: Context) -> Optimizer:
  """Adam whose weights return to their average after each epoch."""
  returns = mechanisms.hare_and_tortoise(
    values['decay'], context.steps_per_epoch
  )
  return _after_adam(values, returns)


@_register(arm.ADAM_RATE)
def normalize_and_project(values: Values, context: Context) -> Optimizer:
  """Adam whose kernels keep their initial norm."""
  return _after_adam(
    values, mechanisms.normalize_and_project(stacked_axes=context.stacked_axes)
  )


@_register(
  {**arm.ADAM_RATE, 'scale': Range(0.01, 1e-3, 0.1)},
  eval_params=mechanisms.eval_params,
)
def neural_variability(values: Values, _: Context) -> Optimizer:
  """NVRM: Adam at noisy weights, evaluated without the noise."""
  inner = _down(values, optax.scale_by_adam())
  return mechanisms.neural_variability(inner, values['scale'])


@_register(
  {LEARNING_RATE: Range(2e-3, 1e-4, 1e-2), 'rate': Range(1.0, 0.1, 10.0)}
)
def synergy(values: Values, context: Context) -> Optimizer:
  """Adam and NeuroPlastic together, with weights that adapt per tensor."""
  stacked = context.stacked_axes
  both = {
    'adam': optax.scale_by_adam(),
    'plastic': neuroplastic(stacked_axes=stacked),
  }
  return _down(
    values,
    mechanisms.synergy(
      both, 'adaptive', rate=values['rate'], stacked_axes=stacked
    ),
  )


@_register(
  {LEARNING_RATE: Range(1e-3, 1e-5, 0.1), 'epsilon': Range(0.01, 1e-3, 0.1)}
)
def spsa(values: Values, _: Context) -> Optimizer:
  """SPSA: two values of the loss make an update, which takes many of them."""
  return _down(values, mechanisms.simultaneous_perturbation(values['epsilon']))


@_register(arm.ADAM_RATE)
def adam_reset(values: Values, context: Context) -> Optimizer:
  """Adam that forgets its moments after each epoch."""
  forgets = mechanisms.reset_moments(
    optax.scale_by_adam(), context.steps_per_epoch
  )
  return _down(values, forgets)
