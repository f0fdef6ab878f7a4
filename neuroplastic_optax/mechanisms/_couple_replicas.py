"""Coupled replicas: learners that pull each other to their mean."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
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
    strength=(strength, _numbers.NON_NEGATIVE.scheduled),
  )
  if not _trees.is_names(axis_name) or not axis_name:
    raise TypeError(
      'axis_name must be the name of a mapped axis or a tuple of names, got '
      f'{axis_name!r}.'
    )

  def init_fn(params: _types.Params) -> CoupleReplicasState:
    _leaves.flatten('couple_replicas', 'params', params)
    return CoupleReplicasState(jnp.zeros([], jnp.int32))

  def update_fn(
    updates: _types.Updates,
    state: CoupleReplicasState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, CoupleReplicasState]:
    del extra_args
    flat = _leaves.flatten('couple_replicas', 'updates', updates)
    weights = _leaves.params_of('couple_replicas', flat, params)

    def step(now: _numbers.Numbers, g: Any, w: Any) -> tuple[Any]:
      # Divided first: a sum of large numbers could overflow.
      mean = jax.lax.psum(w / jax.lax.axis_size(axis_name), axis_name)
      return (_leaves.added(g, now.strength, _leaves.finite(mean - w)),)

    leaves, _ = _leaves.advance(
      step, numbers.at(state.count), flat.leaves, reads=[weights]
    )
    return flat.unflatten(leaves), CoupleReplicasState(
      optax.safe_increment(state.count)
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
