"""Coupled replicas: learners that pull each other to their mean."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class CoupleReplicasState(NamedTuple):
  """The state of `couple_replicas`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.


def couple_replicas(
  strength: _types.ScalarOrSchedule = 0.01,
  *,
  axis_name: str | tuple[str, ...],
) -> optax.GradientTransformationExtraArgs:
  """Pulls replicas that learn side by side to their mean.

  Use it to train several learners on different data or noise, whose coupling
  averages the noise out while each goes on learning. Chain it last, after the
  learning rate. With w the params of a replica and g what would be added to
  them,

      u = g - k·(w - mean of w over the replicas)

  The replicas are those along a mapped axis: of `jax.vmap(axis_name=...)`, of
  `jax.shard_map`, or of `jax.pmap`.

  Args:
    strength: k ≥ 0, a number or a schedule of the update count.
    axis_name: the name or names of the mapped axes.

  Returns:
    A gradient transformation, whose state is a `CoupleReplicasState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `update` is called
      without params.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.couple_replicas(0.5, axis_name='replica')
    >>> step = lambda g, w: tx.update(g, tx.init(w), w)[0]
    >>> replicas = jnp.array([1.0, 3.0])
    >>> print(jax.vmap(step, axis_name='replica')(jnp.zeros(2), replicas))
    [ 0.5 -0.5]

  References:
    Bouvrie and Slotine, on synchronized redundant learners, 2010
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled)
  )
  names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
  if not names or not all(isinstance(name, str) for name in names):
    raise TypeError(
      'axis_name must be the name of a mapped axis or a tuple of names, got '
      f'{axis_name!r}.'
    )

  def init_fn(params):
    _leaves.flatten('couple_replicas', 'params', params)
    return CoupleReplicasState(jnp.zeros([], jnp.int32))

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('couple_replicas', updates, params)

    def step(now, g, w):
      # Divided first: a sum of large numbers could overflow.
      mean = jax.lax.psum(w / jax.lax.axis_size(names), names)
      return _leaves.added(g, now.strength, _leaves.finite(mean - w))

    updates, _ = leaves.map(step, numbers.at(state.count))
    return updates, CoupleReplicasState(optax.safe_increment(state.count))

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
