"""CLASSP: rarer and smaller updates for weights that have learned much."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class ScaleByClasspState(NamedTuple):
  """The state of `scale_by_classp`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    accumulator: G, a tree like the params, at least float32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  accumulator: _types.Updates


def scale_by_classp(
  threshold: _types.ScalarOrSchedule = 0.0,
  power: _types.ScalarOrSchedule = 1.0,
  eps: _types.ScalarOrSchedule = 1e-5,
  scaling: bool | Callable[[jax.Array], Any] = True,
) -> optax.GradientTransformationExtraArgs:
  """Updates a weight less, the more it has been updated before.

  Use it in continual learning, to let weights that earlier tasks have moved
  much move little later. It takes the place of `optax.scale_by_adam`. For each
  element, where g² > τ,

      G ← G + |g|^p
      u = g / (ε + G)^(1/p)

  and elsewhere G stays and u = 0. G starts at 0 and never falls, so that the
  steps become ever smaller, as in Adagrad, which is p = 2 but for ε.

  The paper's τ is 0.5. The published program, however, compares whole tensors
  with it and drops the power, so that its threshold is inert there. Element by
  element, 0.5 stops an ordinary network, whose g² at the start is below 0.01.
  That is why `threshold` is 0 here.

  Args:
    threshold: τ ≥ 0, a number or a schedule of the update count. Elements with
      g² ≤ τ are not updated.
    power: p > 0, a number or a schedule.
    eps: ε > 0, a number or a schedule.
    scaling: whether to divide by (ε + G)^(1/p): a bool, or a callable of the
      update count that returns one. While it is False, u = g where g² > τ, and
      G still grows.

  Returns:
    A gradient transformation, whose state is a `ScaleByClasspState`.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   mechanisms.scale_by_classp(), optax.scale_by_learning_rate(0.5)
    ... )
    >>> params = jnp.array([2.0])
    >>> state = tx.init(params)
    >>> for _ in range(4):
    ...   updates, state = tx.update(2 * params, state, params)
    ...   params = optax.apply_updates(params, updates)
    ...   print(f'{params[0]:.2f}')
    1.50
    1.29
    1.15
    1.05

  References:
    `CLASSP: a Biologically-Inspired Approach to Continual Learning through
    Adjustment Suppression and Sparsity Promotion
    <https://arxiv.org/abs/2405.09637>`_, 2024
  """
  numbers = _numbers.Numbers(
    threshold=(threshold, _numbers.NON_NEGATIVE.scheduled),
    power=(power, _numbers.POSITIVE.scheduled),
    eps=(eps, _numbers.POSITIVE.scheduled),
  )
  if not callable(scaling):
    _check_flag(scaling)

  def init_fn(params):
    leaves = _leaves.flatten('scale_by_classp', 'params', params)
    return ScaleByClasspState(jnp.zeros([], jnp.int32), leaves.zeros())

  def update_fn(updates, state, params=None, **extra_args):
    del params, extra_args
    leaves = _leaves.flatten('scale_by_classp', 'updates', updates)
    scales = scaling(state.count) if callable(scaling) else scaling
    _check_flag(scales)

    def step(now, g, total):
      zero = jnp.zeros_like(g)
      active = g * g > now.threshold
      if not isinstance(now.threshold, float) or now.threshold == 0.0:
        # Squares that vanish are above 0 all the same.
        active |= (g != 0) & (now.threshold == zero)
      total += jnp.where(active, _power(jnp.abs(g), now.power), zero)
      total = jnp.minimum(total, float(jnp.finfo(g.dtype).max))
      scaled = g / _power(now.eps + total, 1 / now.power)
      return jnp.where(active, jnp.where(scales, scaled, g), zero), total

    updates, (total,) = leaves.map(
      step, numbers.at(state.count), keeps=[state.accumulator]
    )
    return updates, ScaleByClasspState(optax.safe_increment(state.count), total)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _power(x: jax.Array, power: Any) -> jax.Array:
  """x^power, by cheaper operations where there are any."""
  if isinstance(power, float):
    if power == 1.0:
      return x
    if power == 2.0:
      return jnp.square(x)
    if power == 0.5:
      return jnp.sqrt(x)
  return jnp.power(x, jnp.asarray(power, x.dtype))


def _check_flag(value: Any) -> None:
  """Refuses what is no bool; a schedule's is an array."""
  flag = isinstance(value, bool | np.bool_) or (
    isinstance(value, jax.Array) and value.dtype == jnp.bool_ and not value.ndim
  )
  if not flag:
    raise TypeError(
      'scaling must be True, False or a callable of the update count that '
      f'returns such, got {value!r}.'
    )
