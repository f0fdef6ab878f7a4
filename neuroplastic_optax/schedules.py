"""Schedules that count in epochs, for use as numbers of the optimizer.

Each function but `epoch` returns a schedule: a callable of the update count,
which is 0 at the first update, as in Optax. With `steps_per_epoch` updates per
epoch, update `count` belongs to epoch

    e = count // steps_per_epoch + 1

Epochs are compared as integers, so that no boundary depends on rounding.
Source: Jiang et al., arXiv:2604.26297.
"""

from collections.abc import Callable
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _types

__all__ = ('cosine_ramp', 'epoch', 'epoch_warmup', 'late_ramp', 'phase')
__docformat__ = 'google'


def _check_update_count(count: _types.ArrayLike) -> None:
  """Refuses what counts no updates; of arrays the values are not looked at."""
  if isinstance(count, jax.Array | np.ndarray):
    if not jnp.issubdtype(count.dtype, jnp.integer):
      raise TypeError(f'count must be integers ≥ 0, got {count!r}.')
  else:
    _numbers.check_integer('count', count, 0)


def _floating(value: _types.ArrayLike) -> _types.ArrayLike:
  """The number; one of NumPy's or an array as a floating array of JAX's."""
  if isinstance(value, np.ndarray | np.generic):
    value = jnp.asarray(value)
  if isinstance(value, jax.Array) and not jnp.issubdtype(
    value.dtype, jnp.inexact
  ):
    return value.astype(jnp.result_type(float))
  return value


def _product(value: _types.ArrayLike, gate: jax.Array) -> jax.Array:
  """The product of a number and an array of any dtypes."""
  value = _floating(value)
  # Casts are explicit, for strict dtype promotion.
  if isinstance(value, jax.Array):
    dtype = _arrays.promoted(value, gate)
    value, gate = value.astype(dtype), gate.astype(dtype)
  return jnp.asarray(value * gate)


def epoch(count: _types.ArrayLike, steps_per_epoch: int) -> jax.Array:
  """Returns the epoch of an update.

  Args:
    count: the update count, 0 at the first update.
    steps_per_epoch: updates per epoch, ≥ 1.

  Returns:
    e = 1, 2, …, an integer scalar.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: an argument is out of range.

  Examples:
    >>> from neuroplastic_optax import schedules
    >>> [int(schedules.epoch(count, 10)) for count in (0, 9, 10)]
    [1, 1, 2]
  """
  _check_update_count(count)
  _numbers.check_integer('steps_per_epoch', steps_per_epoch)
  return _epoch(count, steps_per_epoch)


def _epoch(count: _types.ArrayLike, steps_per_epoch: int) -> jax.Array:
  return jnp.asarray(count) // steps_per_epoch + 1


def epoch_warmup(
  scale: _types.ArrayLike, warmup_epochs: int, steps_per_epoch: int
) -> _types.Schedule:
  """The published warm-up of the plasticity scale, by epoch.

  In epoch e = 1, 2, …

      κ = scale·clip((e - 1) / warmup_epochs, 0, 1)

  so that κ is 0 in the first epoch and `scale` from epoch `warmup_epochs` + 1
  on. Source: Jiang et al., arXiv:2604.26297.

  Args:
    scale: κ ≥ 0 after the warm-up.
    warmup_epochs: the number of epochs of the warm-up, ≥ 0; 0 for no warm-up.
    steps_per_epoch: updates per epoch, ≥ 1.

  Returns:
    A schedule of the update count, which returns a scalar array.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: an argument is out of range.

  Examples:
    >>> from neuroplastic_optax import neuroplastic, schedules
    >>> kappa = schedules.epoch_warmup(2.0, warmup_epochs=2, steps_per_epoch=10)
    >>> [float(kappa(count)) for count in (0, 9, 10, 19, 20, 999)]
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    >>> tx = neuroplastic(plasticity_scale=kappa)
  """
  _numbers.NON_NEGATIVE.check('scale', scale)
  _numbers.check_integer('warmup_epochs', warmup_epochs, 0)
  _numbers.check_integer('steps_per_epoch', steps_per_epoch)

  def schedule(count: _types.ArrayLike) -> jax.Array:
    done = _epoch(count, steps_per_epoch) - 1
    gate = jnp.asarray(1.0)
    if warmup_epochs:
      # Not a minimum: on GPUs a number divided by itself may not be 1.
      gate = jnp.where(done < warmup_epochs, done / warmup_epochs, 1.0)
    return _product(scale, gate)

  return schedule


_PHASES: dict[str, Callable[[jax.Array, int], jax.Array | bool]] = {
  'early': lambda e, epochs: 10 * e <= 3 * epochs,
  'middle': lambda e, epochs: (10 * e > 3 * epochs) & (10 * e < 7 * epochs),
  'late': lambda e, epochs: 10 * e >= 7 * epochs,
  'full': lambda e, epochs: True,
}


def phase(
  value: _types.ArrayLike,
  name: Literal['early', 'middle', 'late', 'full'],
  steps_per_epoch: int,
  epochs: int,
) -> _types.Schedule:
  """A value in one phase of training, and 0 in the others.

  The phase follows from the progress e / epochs:

      early   progress ≤ 0.3
      middle  0.3 < progress < 0.7
      late    progress ≥ 0.7
      full    always

  Source: Jiang et al., arXiv:2604.26297.

  Args:
    value: the value ≥ 0 in the phase.
    name: the phase: "early", "middle", "late" or "full".
    steps_per_epoch: updates per epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.

  Returns:
    A schedule of the update count, which returns a scalar array.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: an argument is out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> late = schedules.phase(0.15, 'late', steps_per_epoch=10, epochs=10)
    >>> [round(float(late(count)), 2) for count in (0, 59, 60, 99)]
    [0.0, 0.0, 0.15, 0.15]
    >>> rule = modulations.Gain(strength=late)
  """
  _numbers.NON_NEGATIVE.check('value', value)
  _numbers.check_choice('the phase (argument name)', name, tuple(_PHASES))
  _numbers.check_integer('steps_per_epoch', steps_per_epoch)
  _numbers.check_integer('epochs', epochs)

  def schedule(count: _types.ArrayLike) -> jax.Array:
    return jnp.where(
      _PHASES[name](_epoch(count, steps_per_epoch), epochs),
      _floating(value),
      0.0,
    )

  return schedule


def late_ramp(
  value: _types.ArrayLike,
  steps_per_epoch: int,
  epochs: int,
  start: float = 0.3,
) -> _types.Schedule:
  """Zero up to a progress of `start`, then linear to the value at the end.

  In epoch e = 1, 2, …

      value·clip((e / epochs - start) / (1 - start), 0, 1)

  Source: Jiang et al., arXiv:2604.26297.

  Args:
    value: the value ≥ 0 in the last epoch.
    steps_per_epoch: updates per epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.
    start: the progress e / epochs at which the ramp starts, in [0, 1).

  Returns:
    A schedule of the update count, which returns a scalar array.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: an argument is out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> ramp = schedules.late_ramp(0.7, steps_per_epoch=10, epochs=10)
    >>> [round(float(ramp(count)), 2) for count in (0, 29, 30, 99)]
    [0.0, 0.0, 0.1, 0.7]
    >>> rule = modulations.Orthogonal(strength=ramp)
  """
  _numbers.NON_NEGATIVE.check('value', value)
  _numbers.check_integer('steps_per_epoch', steps_per_epoch)
  _numbers.check_integer('epochs', epochs)
  _numbers.DECAY.check('start', start)

  def schedule(count: _types.ArrayLike) -> jax.Array:
    # A cast: strict promotion refuses to subtract a float from an integer.
    e = _epoch(count, steps_per_epoch).astype(jnp.result_type(float))
    done = e - start * epochs
    # The margin is less than an epoch: what rounds at the start stays 0.
    done = jnp.where(done < 1e-3, 0.0, done)
    gate = jnp.minimum(done / (epochs * (1 - start)), 1.0)
    return _product(value, gate)

  return schedule


def cosine_ramp(
  value: _types.ArrayLike, steps_per_epoch: int, epochs: int
) -> _types.Schedule:
  """Half a cosine wave from 0 to the value at the end.

  In epoch e = 1, 2, …

      value·(1 - cos(π·e / epochs)) / 2

  Source: Jiang et al., arXiv:2604.26297.

  Args:
    value: the value ≥ 0 in the last epoch.
    steps_per_epoch: updates per epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.

  Returns:
    A schedule of the update count, which returns a scalar array.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: an argument is out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> ramp = schedules.cosine_ramp(0.7, steps_per_epoch=10, epochs=10)
    >>> [round(float(ramp(count)), 2) for count in (0, 40, 99, 999)]
    [0.02, 0.35, 0.7, 0.7]
    >>> rule = modulations.Orthogonal(strength=ramp)
  """
  _numbers.NON_NEGATIVE.check('value', value)
  _numbers.check_integer('steps_per_epoch', steps_per_epoch)
  _numbers.check_integer('epochs', epochs)

  def schedule(count: _types.ArrayLike) -> jax.Array:
    progress = jnp.minimum(_epoch(count, steps_per_epoch), epochs) / epochs
    return _product(_floating(value) * 0.5, 1 - jnp.cos(math.pi * progress))

  return schedule
