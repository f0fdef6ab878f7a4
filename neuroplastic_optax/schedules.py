"""Schedules of the update count, in epochs.

Every schedule here is a function of the update count, 0 at the first update,
as in Optax. With `steps_per_epoch` updates an epoch, update `count` is in epoch
e = count // steps_per_epoch + 1, compared in integers.
"""

from collections.abc import Callable
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import _hyperparameters

__all__ = ('cosine_ramp', 'epoch', 'epoch_warmup', 'late_ramp', 'phase')


def _check_count(name: str, value: int, low: int) -> None:
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise TypeError(f'{name} must be an integer ≥ {low}, got {value!r}.')
  if value < low:
    raise ValueError(f'{name} must be an integer ≥ {low}, got {value!r}.')


def epoch(count: jax.typing.ArrayLike, steps_per_epoch: int) -> jax.Array:
  """The epoch e = 1, 2, … of update `count`, an integer scalar."""
  return jnp.asarray(count) // steps_per_epoch + 1


def epoch_warmup(
  scale: jax.typing.ArrayLike, warmup_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
  r"""The published warm-up of the plasticity scale, by epoch.

  .. math::

    \kappa_e = scale \cdot \mathrm{clip}((e - 1) / warmup\_epochs, 0, 1)

  so that the first epoch has κ = 0 and epoch `warmup_epochs` + 1 the full
  scale. Source: Jiang et al., arXiv:2604.26297.

  Args:
    scale: κ ≥ 0 after the warm-up.
    warmup_epochs: how many epochs it takes, ≥ 0; 0 for no warm-up.
    steps_per_epoch: updates an epoch, ≥ 1.

  Returns:
    A schedule of the update count.

  Raises:
    TypeError: an argument of the wrong type.
    ValueError: an argument out of range.

  Examples:
    >>> from neuroplastic_optax import neuroplastic, schedules
    >>> kappa = schedules.epoch_warmup(2.0, warmup_epochs=2, steps_per_epoch=10)
    >>> [float(kappa(count)) for count in (0, 9, 10, 19, 20, 999)]
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    >>> tx = neuroplastic(plasticity_scale=kappa)
  """
  _hyperparameters.check('scale', scale, _hyperparameters.NON_NEGATIVE)
  _check_count('warmup_epochs', warmup_epochs, 0)
  _check_count('steps_per_epoch', steps_per_epoch, 1)

  def schedule(count: jax.typing.ArrayLike) -> jax.Array:
    done = jnp.minimum(epoch(count, steps_per_epoch) - 1, warmup_epochs)
    gate = done / warmup_epochs if warmup_epochs else 1.0
    return jnp.asarray(scale * gate)

  return schedule


_PHASES: dict[str, Callable[[jax.Array, int], jax.Array | bool]] = {
  'early': lambda e, epochs: 10 * e <= 3 * epochs,
  'middle': lambda e, epochs: (10 * e > 3 * epochs) & (10 * e < 7 * epochs),
  'late': lambda e, epochs: 10 * e >= 7 * epochs,
  'full': lambda e, epochs: True,
}


def phase(
  value: jax.typing.ArrayLike,
  name: Literal['early', 'middle', 'late', 'full'],
  steps_per_epoch: int,
  epochs: int,
) -> optax.Schedule:
  """A value in one phase of training, 0 in the others.

  With progress = e/epochs: early ≤ 0.3, middle between, late ≥ 0.7, full
  always. Source: Jiang et al., arXiv:2604.26297.

  Args:
    value: the value ≥ 0.
    name: the phase.
    steps_per_epoch: updates an epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.

  Returns:
    A schedule of the update count.

  Raises:
    TypeError: an argument of the wrong type.
    ValueError: an argument out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> late = schedules.phase(0.15, 'late', steps_per_epoch=10, epochs=10)
    >>> [round(float(late(count)), 2) for count in (0, 59, 60, 99)]
    [0.0, 0.0, 0.15, 0.15]
    >>> rule = modulations.Gain(strength=late)
  """
  _hyperparameters.check('value', value, _hyperparameters.NON_NEGATIVE)
  if name not in _PHASES:
    raise ValueError(f'name must be one of {", ".join(_PHASES)}, got {name!r}.')
  _check_count('steps_per_epoch', steps_per_epoch, 1)
  _check_count('epochs', epochs, 1)

  def schedule(count: jax.typing.ArrayLike) -> jax.Array:
    return jnp.where(
      _PHASES[name](epoch(count, steps_per_epoch), epochs), value, 0.0
    )

  return schedule


def late_ramp(
  value: jax.typing.ArrayLike,
  steps_per_epoch: int,
  epochs: int,
  start: float = 0.3,
) -> optax.Schedule:
  """0 up to a progress of `start`, then linear to the value at the end.

  value · clip((e/epochs - start) / (1 - start), 0, 1). Source: Jiang et al.,
  arXiv:2604.26297.

  Args:
    value: the value ≥ 0 in the last epoch.
    steps_per_epoch: updates an epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.
    start: in [0, 1).

  Returns:
    A schedule of the update count.

  Raises:
    TypeError: an argument of the wrong type.
    ValueError: an argument out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> ramp = schedules.late_ramp(0.7, steps_per_epoch=10, epochs=10)
    >>> [round(float(ramp(count)), 2) for count in (0, 29, 30, 99)]
    [0.0, 0.0, 0.1, 0.7]
    >>> rule = modulations.Orthogonal(strength=ramp)
  """
  _hyperparameters.check('value', value, _hyperparameters.NON_NEGATIVE)
  _check_count('steps_per_epoch', steps_per_epoch, 1)
  _check_count('epochs', epochs, 1)
  _hyperparameters.check('start', start, _hyperparameters.DECAY)

  def schedule(count: jax.typing.ArrayLike) -> jax.Array:
    done = epoch(count, steps_per_epoch) - start * epochs
    # The margin is less than an epoch: what rounds at the start stays 0.
    done = jnp.where(done < 1e-3, 0.0, done)
    gate = jnp.minimum(done / (epochs * (1 - start)), 1.0)
    return jnp.asarray(value * gate)

  return schedule


def cosine_ramp(
  value: jax.typing.ArrayLike, steps_per_epoch: int, epochs: int
) -> optax.Schedule:
  """A cosine from 0 to the value at the end: value · ½(1 - cos π·e/epochs).

  Source: Jiang et al., arXiv:2604.26297.

  Args:
    value: the value ≥ 0 in the last epoch.
    steps_per_epoch: updates an epoch, ≥ 1.
    epochs: epochs in all, ≥ 1.

  Returns:
    A schedule of the update count.

  Raises:
    TypeError: an argument of the wrong type.
    ValueError: an argument out of range.

  Examples:
    >>> from neuroplastic_optax import modulations, schedules
    >>> ramp = schedules.cosine_ramp(0.7, steps_per_epoch=10, epochs=10)
    >>> [round(float(ramp(count)), 2) for count in (0, 40, 99, 999)]
    [0.02, 0.35, 0.7, 0.7]
    >>> rule = modulations.Orthogonal(strength=ramp)
  """
  _hyperparameters.check('value', value, _hyperparameters.NON_NEGATIVE)
  _check_count('steps_per_epoch', steps_per_epoch, 1)
  _check_count('epochs', epochs, 1)

  def schedule(count: jax.typing.ArrayLike) -> jax.Array:
    progress = jnp.minimum(epoch(count, steps_per_epoch), epochs) / epochs
    return jnp.asarray(value * 0.5 * (1 - jnp.cos(math.pi * progress)))

  return schedule
