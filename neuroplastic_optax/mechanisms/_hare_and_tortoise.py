"""Hare and tortoise: fast weights that return to their average."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class HareAndTortoiseState(NamedTuple):
  """The state of `hare_and_tortoise`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    slow: the tortoise, an average of the params: a tree like them, at least
      float32; the params themselves at `init`.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  slow: _types.Params


def hare_and_tortoise(
  decay: _types.ArrayLike = 0.999,
  period: int = 1000,
) -> optax.GradientTransformationExtraArgs:
  """Keeps a slow average of the params, to which they return now and then.

  Use it to keep a network able to learn from new data without giving up what it
  knows: the params (the hare) learn fast, and their average (the tortoise)
  generalises. Chain it last, after the learning rate. With w the params and g
  what would be added to them,

      slow ← decay·slow + (1 - decay)·(w + g)
      u = slow - w   at every `period`-th update, else u = g

  Evaluate the model at `eval_params(state, params)`, which is `slow`.

  Args:
    decay: in [0, 1), how slow the average is.
    period: n ≥ 1, a Python integer: the params return to the average at updates
      n, 2n, 3n and so on.

  Returns:
    A gradient transformation, whose state is a `HareAndTortoiseState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, or `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   optax.sgd(1.0), mechanisms.hare_and_tortoise(decay=0.5, period=2)
    ... )
    >>> params = jnp.array([0.0])
    >>> state = tx.init(params)
    >>> for _ in range(2):
    ...   updates, state = tx.update(jnp.array([-1.0]), state, params)
    ...   params = optax.apply_updates(params, updates)
    ...   print(params, mechanisms.eval_params(state, params))
    [1.] [0.5]
    [1.25] [1.25]

  References:
    Lee et al., `Slow and Steady Wins the Race: Maintaining Plasticity with Hare
    and Tortoise Networks <https://arxiv.org/abs/2406.02596>`_, 2024
  """
  numbers = _numbers.Numbers(
    decay=(decay, _numbers.DECAY),
  )
  period = _numbers.check_period('period', period)

  def init_fn(params: _types.Params) -> HareAndTortoiseState:
    flat = _leaves.flatten('hare_and_tortoise', 'params', params)
    return HareAndTortoiseState(jnp.zeros([], jnp.int32), _leaves.copies(flat))

  def update_fn(
    updates: _types.Updates,
    state: HareAndTortoiseState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, HareAndTortoiseState]:
    del extra_args
    flat = _leaves.flatten('hare_and_tortoise', 'updates', updates)
    weights = _leaves.params_of('hare_and_tortoise', flat, params)
    t = optax.safe_increment(state.count)
    returns = t % period == 0

    def step(
      now: _numbers.Numbers, g: Any, w: Any, slow: Any
    ) -> tuple[Any, Any]:
      moved = _leaves.finite(w + g)
      slow = now.decay * slow + (1 - now.decay) * moved
      return jnp.where(returns, slow - w, g), slow

    leaves, (slow,) = _leaves.advance(
      step,
      numbers.at(state.count),
      flat.leaves,
      reads=[weights],
      keeps=[flat.align('state.slow', state.slow)],
    )
    return flat.unflatten(leaves), HareAndTortoiseState(t, flat.unflatten(slow))

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
