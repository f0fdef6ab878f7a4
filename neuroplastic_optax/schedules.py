"""Schedules of the update count, in epochs.

Every schedule here is a function of the update count, 0 at the first update,
as in Optax. With `steps_per_epoch` updates an epoch, update `count` is in epoch
e = count // steps_per_epoch + 1, compared in integers.
"""

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers


def _check_count(name: str, value: int, low: int) -> None:
  if isinstance(value, bool) or not isinstance(value, int):
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
  _numbers.check('scale', scale, _numbers.NON_NEGATIVE)
  _check_count('warmup_epochs', warmup_epochs, 0)
  _check_count('steps_per_epoch', steps_per_epoch, 1)

  def schedule(count: jax.typing.ArrayLike) -> jax.Array:
    done = jnp.minimum(epoch(count, steps_per_epoch) - 1, warmup_epochs)
    gate = done / warmup_epochs if warmup_epochs else 1.0
    return jnp.asarray(scale * gate)

  return schedule
