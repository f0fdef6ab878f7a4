"""Regeneration of inactive weights over SGD, Adam and Muon, and its controls.

Each control is `regenerate_inactive` over Adam without one of its properties:

    regenerate_evenly     which weights: all are pulled, by as much in all
    regenerate_misplaced  which weights: as many are, but others
    regenerate_to_zero    where to: towards 0
"""

from collections.abc import Callable
import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from experiments.optimizers import arm
from experiments.optimizers import muon_direction
from experiments.optimizers import rivals
from experiments.optimizers import tensors
from experiments.optimizers.arm import Context
from experiments.optimizers.arm import LEARNING_RATE
from experiments.optimizers.arm import Optimizer
from experiments.optimizers.arm import Range
from experiments.optimizers.arm import Values
from neuroplastic_optax import mechanisms

_PULL = {'rate': Range(0.01, 1e-3, 0.1), 'threshold': Range(0.1, 0.03, 0.3)}
_OVER_ADAM = {**arm.ADAM_RATE, **_PULL}

# Of `swr`, whose authors leave both to the user: the utility is an average over
# about as many updates as lie between two reinitializations.
SWR_EVERY, _SWR_DECAY = 100, 0.99

_register = functools.partial(arm.register, inactive=True)

# From which weights of a tensor are inactive, what part of them is pulled.
_Gate: TypeAlias = Callable[[jax.Array], jax.Array]


def _regenerating(
  inner: Optimizer, values: Values, context: Context
) -> Optimizer:
  return mechanisms.regenerate_inactive(
    inner,
    values['rate'],
    values['threshold'],
    stacked_axes=context.stacked_axes,
  )


@_register(arm.MECHANISMS, {**arm.SGD_RATE, **_PULL})
def regenerate_inactive_sgd(values: Values, context: Context) -> Optimizer:
  """SGD; weights that get almost no gradient go back to where they began."""
  return _regenerating(optax.sgd(values[LEARNING_RATE]), values, context)


@_register(arm.MECHANISMS, _OVER_ADAM)
def regenerate_inactive(values: Values, context: Context) -> Optimizer:
  """Adam; weights that get almost no gradient go back to where they began."""
  return _regenerating(optax.adam(values[LEARNING_RATE]), values, context)


@_register(
  arm.MECHANISMS, {LEARNING_RATE: muon_direction.LEARNING_RATE, **_PULL}
)
def regenerate_inactive_muon(values: Values, context: Context) -> Optimizer:
  """Muon; weights that get almost no gradient go back to where they began."""
  inner = rivals.muon({**values, 'weight_decay': 0.0}, context)
  return _regenerating(inner, values, context)


@_register(
  arm.MECHANISMS, {**arm.ADAM_RATE, 'threshold': Range(0.1, 1e-3, 0.3)}
)
def swr(values: Values, context: Context) -> Optimizer:
  """Adam with selective weight reinitialization, by a threshold."""
  return mechanisms.regenerate_inactive(
    optax.adam(values[LEARNING_RATE]),
    rate=1.0,
    threshold=values['threshold'],
    decay=_SWR_DECAY,
    utility='contribution',
    to='fresh',
    every=SWR_EVERY,
    stacked_axes=context.stacked_axes,
  )


def _control(
  values: Values, context: Context, gate: _Gate, *, home: float = 1.0
) -> Optimizer:
  """Adam, and the pull of another gate or to another place.

  The mechanism itself, at rate 0, keeps what the pull is made of. Weights are
  pulled to the initial values times `home`.
  """
  threshold = values['threshold']
  measured = mechanisms.regenerate_inactive(
    optax.adam(values[LEARNING_RATE]),
    rate=0.0,
    threshold=threshold,
    stacked_axes=context.stacked_axes,
  )

  def pulled(
    u: jax.Array, w: jax.Array, activity: jax.Array, initial: jax.Array
  ) -> jax.Array:
    inactive = (activity < threshold * jnp.mean(activity)).astype(u.dtype)
    return u - values['rate'] * gate(inactive) * (w - home * initial)

  def update_fn(
    updates: Any, state: Any, params: Any = None, **extra_args: Any
  ) -> tuple[Any, Any]:
    updates, state = measured.update(updates, state, params, **extra_args)
    updates = tensors.per_tensor(
      pulled,
      context.stacked_axes,
      *(updates, params, state.activity, state.anchor),
    )
    return updates, state

  return optax.GradientTransformationExtraArgs(measured.init, update_fn)


@_register(arm.CONTROLS, _OVER_ADAM)
def regenerate_evenly(values: Values, context: Context) -> Optimizer:
  """The arm regenerate_inactive whose pull is spread over all weights."""
  return _control(values, context, jnp.mean)


@_register(arm.CONTROLS, _OVER_ADAM)
def regenerate_misplaced(values: Values, context: Context) -> Optimizer:
  """The arm regenerate_inactive whose gates are two fifths of a tensor off."""
  rolled = lambda x: jnp.roll(x.ravel(), 2 * x.size // 5).reshape(x.shape)
  return _control(values, context, rolled)


@_register(arm.CONTROLS, _OVER_ADAM)
def regenerate_to_zero(values: Values, context: Context) -> Optimizer:
  """The arm regenerate_inactive that pulls weights towards 0."""
  return _control(values, context, lambda inactive: inactive, home=0.0)
