"""The optimizers that people use, as their authors ship them."""

import functools
from typing import Any

import optax
from optax import contrib

from experiments.optimizers import adam_rules
from experiments.optimizers import arm
from experiments.optimizers import m_svag as m_svag_rule
from experiments.optimizers import muon_direction
from experiments.optimizers.arm import Context
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Optimizer
from experiments.optimizers.arm import Range
from experiments.optimizers.arm import Values

# What times and sizes are told as multiples of.
REFERENCE = 'adamw'

_ADAM = {**arm.ADAM_RATE, **arm.L2}
_ADAMW = {**arm.ADAM_RATE, 'weight_decay': Range(0.01, 1e-4, 1.0)}

_register = functools.partial(arm.register, arm.OTHERS)


def _decayed(values: Values, optimizer: Optimizer) -> Optimizer:
  """L2 regularisation: λθ joins the gradient."""
  return optax.chain(
    optax.add_decayed_weights(values['weight_decay']), optimizer
  )


def _descent(values: Values, direction: Optimizer) -> Optimizer:
  """A direction, with the learning rate and a decoupled weight decay."""
  return optax.chain(
    direction,
    optax.add_decayed_weights(values['weight_decay']),
    optax.scale_by_learning_rate(values[LEARNING_RATE]),
  )


@_register({**arm.SGD_RATE, **arm.L2})
def sgd(values: Values, _: Context) -> Optimizer:
  """Plain stochastic gradient descent."""
  return _decayed(values, optax.sgd(values[LEARNING_RATE]))


@_register({LEARNING_RATE: Range(0.01, 1e-3, 1.0), **arm.L2})
def sgdm(values: Values, _: Context) -> Optimizer:
  """SGD with momentum 0.9."""
  return _decayed(values, optax.sgd(values[LEARNING_RATE], momentum=0.9))


@_register(_ADAM)
def adam(values: Values, _: Context) -> Optimizer:
  """Adam, β = (0.9, 0.999)."""
  return _decayed(values, optax.adam(values[LEARNING_RATE]))


@_register(_ADAMW)
def adamw(values: Values, _: Context) -> Optimizer:
  """AdamW: Adam with a decoupled weight decay, 0.01 by default."""
  return optax.adamw(values[LEARNING_RATE], weight_decay=values['weight_decay'])


@_register(_ADAMW)
def nadamw(values: Values, _: Context) -> Optimizer:
  """AdamW with Nesterov's momentum."""
  return optax.nadamw(
    values[LEARNING_RATE], weight_decay=values['weight_decay']
  )


@_register({**arm.ADAM_RATE, **arm.DECOUPLED})
def adabelief(values: Values, _: Context) -> Optimizer:
  """AdaBelief: Adam that divides by how far the gradient is off its mean."""
  return _descent(values, optax.scale_by_belief())


@_register(_ADAMW)
def cautious_adamw(values: Values, context: Context) -> Optimizer:
  """Cautious AdamW: no step where it would go against the gradient."""
  rule, axes = adam_rules.cautious, context.stacked_axes
  return _descent(values, adam_rules.scale_by_adam_rule(rule, axes))


@_register(_ADAMW)
def grams(values: Values, _: Context) -> Optimizer:
  """Grams: Adam's step with the signs of the gradient."""
  return _descent(values, adam_rules.scale_by_adam_rule(adam_rules.grams))


@_register({**arm.ADAM_RATE, **arm.DECOUPLED})
def mgup(values: Values, context: Context) -> Optimizer:
  """MGUP-AdamW: longer steps where momentum and gradient agree most."""
  rule, axes = adam_rules.mgup, context.stacked_axes
  return _descent(values, adam_rules.scale_by_adam_rule(rule, axes, eps=1e-6))


# An average of gradients is a tenth of the buffer of SGD momentum.
@_register({LEARNING_RATE: Range(0.1, 0.01, 10.0), **arm.L2})
def m_svag(values: Values, _: Context) -> Optimizer:
  """M-SVAG: momentum, damped where the gradient's variance is large."""
  return _decayed(
    values,
    optax.chain(
      m_svag_rule.scale_by_m_svag(),
      optax.scale_by_learning_rate(values[LEARNING_RATE]),
    ),
  )


@_register(
  {
    LEARNING_RATE: Range(1e-4, 1e-5, 1e-2),
    'weight_decay': Range(1e-3, 1e-4, 1.0),
  }
)
def lion(values: Values, _: Context) -> Optimizer:
  """Lion: the sign of an interpolated momentum."""
  return optax.lion(values[LEARNING_RATE], weight_decay=values['weight_decay'])


@_register({LEARNING_RATE: muon_direction.LEARNING_RATE, **arm.DECOUPLED})
def muon(values: Values, context: Context) -> Optimizer:
  """Muon: orthogonalised momentum of matrices and convolutions, else Adam."""
  rate = values[LEARNING_RATE]
  return contrib.muon(
    rate,
    adam_learning_rate=_times(muon_direction.ADAM_RATIO, rate),
    weight_decay=values['weight_decay'],
    adam_weight_decay=values['weight_decay'],
    muon_weight_dimension_numbers=functools.partial(
      muon_direction.dimensions, stacked_axes=context.stacked_axes
    ),
  )


def _times(factor: float, rate: Any) -> Any:
  """A learning rate, which may be a schedule, times a factor."""
  if callable(rate):
    return lambda count: factor * rate(count)
  return factor * rate


@_register({LEARNING_RATE: Range(1.0, 0.1, 10.0), **arm.DECOUPLED})
def prodigy(values: Values, _: Context) -> Optimizer:
  """Prodigy: Adam that estimates its own learning rate, times this one."""
  return contrib.prodigy(
    values[LEARNING_RATE], weight_decay=values['weight_decay']
  )


@_register(
  {LEARNING_RATE: Range(2.5e-3, 1e-4, 0.05), **arm.DECOUPLED},
  eval_params=contrib.schedule_free_eval_params,
)
def schedule_free(values: Values, _: Context) -> Optimizer:
  """Schedule-Free AdamW: an average of the iterates is what is evaluated."""
  return contrib.schedule_free_adamw(
    values[LEARNING_RATE], weight_decay=values['weight_decay']
  )
