"""Hare and tortoise: fast weights that return to their average."""

from typing import NamedTuple

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
  period: int | _types.ArrayLike = 1000,
) -> optax.GradientTransformationExtraArgs:
  """Keeps a slow average of the params, to which they return now and then.

  Use it to keep a network able to learn from new data without giving up what it
  knows: the params (the hare) learn fast, and their average (the tortoise)
  generalises. Chain it last, after the learning rate. With w the params and g
  what would be added to them,

      slow ← decay·slow + (1 - decay)·(w + g)
      u = slow - w   at every `period`-th update, else u = g

  Evaluate the model at `eval_params(state, params)`, which is `slow`. The
  authors reset every 10 epochs, and average the statistics of batch
  normalisation too, which are no params: average them yourself.

  Args:
    decay: in [0, 1), how slow the average is.
    period: n ≥ 1, an integer: the params return to the average at updates
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
  numbers = _numbers.Numbers(decay=(decay, _numbers.DECAY))
  period = _numbers.check_period('period', period)

  def init_fn(params):
    leaves = _leaves.flatten('hare_and_tortoise', 'params', params)
    return HareAndTortoiseState(jnp.zeros([], jnp.int32), leaves.copies())

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('hare_and_tortoise', updates, params)
    t = optax.safe_increment(state.count)

    def step(now, g, w, slow):
      moved = _leaves.finite(w + g)
      slow = now.decay * slow + (1 - now.decay) * moved
      return jnp.where(t % period == 0, slow - w, g), slow

    updates, (slow,) = leaves.map(
      step, numbers.at(state.count), keeps=[state.slow]
    )
    return updates, HareAndTortoiseState(t, slow)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
