"""Weight clipping: no weight grows beyond a bound."""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves

_BOUND = _numbers.Number(0.0, math.inf, low_open=True, high_open=False)


class ClipWeightsState(NamedTuple):
  """The state of `clip_weights`.

  Attributes:
    bounds: B of each leaf, if `bound` is a callable of the params: a tuple of
      scalars, at least float32; for ∞ the largest number. Else None.
  """

  bounds: Any


def clip_weights(
  bound: _types.ArrayLike | Any | Callable[[_types.Params], Any],
) -> optax.GradientTransformationExtraArgs:
  """Keeps every weight within ±B.

  Use it against loss of plasticity on changing data, and against parameters
  that grow without bound, for which it can take the place of weight decay: it
  does nothing to weights within their bounds. Chain it last, after the learning
  rate. With w the params and g what would be added to them,

      u = clip(w + g, -B, B) - w

  and u = g, untouched, where nothing is clipped. In low precision u is rounded,
  and a weight may pass its bound by as much. `fan_in_bounds` gives the
  paper's bounds, in proportion to those of usual initial values.

  Args:
    bound: B > 0, which may be infinite: a number for all leaves, a pytree
      (prefix) of numbers, or a callable of the params that returns such, which
      is called once, at `init`. `optax.inject_hyperparams` takes a callable for
      a schedule: name it in its `static_args`.

  Returns:
    A gradient transformation, whose state is a `ClipWeightsState`. Its `update`
    needs the params.

  Raises:
    TypeError: `bound` has the wrong type, or a leaf is not floating.
    ValueError: a bound is not positive, `bound` does not fit the params, or
      `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(optax.sgd(0.1), mechanisms.clip_weights(1.0))
    >>> params = jnp.array([0.5, 0.9])
    >>> updates, _ = tx.update(jnp.full(2, -3.0), tx.init(params), params)
    >>> print(optax.apply_updates(params, updates))
    [0.8 1. ]

  References:
    Elsayed et al., `Weight Clipping for Deep Continual and Reinforcement
    Learning <https://arxiv.org/abs/2407.01704>`_, 2024
  """
  called = _trees.is_callable_of_params(bound)
  if not called:
    for value in jax.tree.leaves(bound):
      _BOUND.check('bound', value)
    if not jax.tree.leaves(bound):
      raise TypeError(
        'bound must be a positive number, a pytree (prefix) of such, or a '
        f'callable of the params that returns one, got {bound!r}.'
      )

  def init_fn(params):
    leaves = _leaves.flatten('clip_weights', 'params', params)
    if not called:
      return ClipWeightsState(None)

    def measured(leaf, value):
      _BOUND.check('bound', value)
      # No ∞ in an array: `jax.debug_infs` would take it for an error.
      dtype = _leaves.wide_dtype(leaf)
      if _numbers.is_known(value):
        value = min(float(value), float(jnp.finfo(dtype).max))
      return _leaves.finite(jnp.array(value, dtype=dtype, copy=True))

    bounds = _trees.broadcast('bound', bound, leaves.like)
    return ClipWeightsState(leaves.per_leaf(leaves.each(measured, bounds)))

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('clip_weights', updates, params)
    if called:
      bounds = leaves.of_leaves(state.bounds)
    else:
      bounds = _trees.broadcast('bound', bound, leaves.like)

    def step(_, g, w, bound):
      bound = _BOUND.cast(bound, g.dtype)
      moved = w + g
      clipped = jnp.clip(moved, -bound, bound)
      return jnp.where(clipped == moved, g, clipped - w)

    updates, _ = leaves.map(step, extras=[bounds])
    return updates, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
