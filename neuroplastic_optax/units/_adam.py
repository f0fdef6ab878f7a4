"""Adam that counts for each element, so that units can begin anew."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class ScaleByAdamState(NamedTuple):
  """The state of `scale_by_adam`: trees like the params, at least float32.

  Attributes:
    age: how many updates each element has seen, float32 for usual params.
    mu: the average of the gradients.
    nu: the average of their squares.
  """

  age: _types.Updates
  mu: _types.Updates
  nu: _types.Updates


def scale_by_adam(
  b1: _types.ArrayLike = 0.9,
  b2: _types.ArrayLike = 0.999,
  eps: _types.ArrayLike = 1e-8,
) -> optax.GradientTransformation:
  """Adam, with a count for each element instead of one for all.

  Use it within `units.recycle`, or where `mechanisms.reset_state` resets some
  elements: these begin anew, as at the first update, where moments of 0 under
  the large count of `optax.scale_by_adam` give steps that are up to 6.6 times
  too large. With g the incoming gradient,

      age ← age + 1
      mu ← b1·mu + (1 - b1)·g
      nu ← b2·nu + (1 - b2)·g²
      u = mu / (1 - b1^age) / (√(nu / (1 - b2^age)) + eps)

  Without resets it is `optax.scale_by_adam`, to rounding. It is after the
  AdamGnT of Dohare et al., [2306.13812](https://arxiv.org/abs/2306.13812),
  whose program steps by (1 - b2^age)·mu / (√nu + eps) instead. The state is
  three copies of the params.

  Args:
    b1: the decay of mu, in [0, 1).
    b2: the decay of nu, in [0, 1).
    eps: > 0, added to the root.

  Returns:
    A gradient transformation, whose state is a `ScaleByAdamState`. Errors name
    numbers out of range and leaves that are not floating.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import units
    >>> tx = units.scale_by_adam()
    >>> updates, state = tx.update(jnp.array([2.0]), tx.init(jnp.ones(1)))
    >>> print(f'{updates[0]:.4f} {state.age[0]:.0f}')
    1.0000 1
  """
  numbers = _numbers.Numbers(
    b1=(b1, _numbers.DECAY),
    b2=(b2, _numbers.DECAY),
    eps=(eps, _numbers.POSITIVE),
  )

  def init_fn(params):
    leaves = _leaves.flatten('units.scale_by_adam', 'params', params)
    return ScaleByAdamState(leaves.zeros(), leaves.zeros(), leaves.zeros())

  def step(now, g, age, mu, nu):
    age = age + 1
    mu = now.b1 * mu + (1 - now.b1) * g
    nu = now.b2 * nu + (1 - now.b2) * _leaves.product(g, g)
    first = mu / _leaves.bias(now.b1, age, g.dtype)
    second = _leaves.finite(nu / _leaves.bias(now.b2, age, g.dtype))
    return first / (jnp.sqrt(second) + now.eps), age, mu, nu

  def update_fn(updates, state, params=None):
    del params
    leaves = _leaves.flatten('units.scale_by_adam', 'updates', updates)
    updates, kept = leaves.map(step, numbers, keeps=state)
    return updates, ScaleByAdamState(*kept)

  return optax.GradientTransformation(init_fn, update_fn)
