"""Exponentiated gradient: steps in proportion to the weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class ExponentiateState(NamedTuple):
  """The state of `exponentiate`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.


def exponentiate(
  mask: Any = None,
  max_exponent: _types.ScalarOrSchedule = 10.0,
) -> optax.GradientTransformationExtraArgs:
  """Turns additive steps into multiplicative ones, which keep signs.

  Use it for networks whose weights must keep their sign (Dale's law), and where
  most inputs are irrelevant, for which exponentiated gradient is known to need
  fewer examples than gradient descent. Chain it last, after the learning rate.
  With w the params and g what would be added to them,

      u = w ⊙ expm1(clip(sign(w) ⊙ g, -c, c))

  so that w becomes w·exp(±g): signs never change. A weight of 0 stays 0, so
  kernels that start at 0 never train; leave those out with `mask`, and biases
  too, which commonly start at 0.

  In low precision the step that shrinks a weight is rounded so that the weight
  stays off 0.

  Args:
    mask: the leaves to act on, as in `optax.masked`; outside u = g. None for
      all.
    max_exponent: c > 0, a number or a schedule of the update count: no step
      multiplies a weight by more than exp(c), or by less than exp(-c).

  Returns:
    A gradient transformation, whose state is an `ExponentiateState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `update` is called
      without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   optax.scale_by_learning_rate(0.5), mechanisms.exponentiate()
    ... )
    >>> params = jnp.array([1.0, -1.0, 0.0])
    >>> updates, _ = tx.update(jnp.full(3, 2.0), tx.init(params), params)
    >>> print(optax.apply_updates(params, updates).round(2))
    [ 0.37 -2.72  0.  ]

  References:
    Cornford et al., `Brain-like Learning with Exponentiated Gradients
    <https://doi.org/10.1101/2024.10.25.620272>`_, 2024
  """
  numbers = _numbers.Numbers(
    max_exponent=(max_exponent, _numbers.POSITIVE.scheduled)
  )
  _trees.check_mask('mask', mask)

  def init_fn(params):
    _leaves.flatten('exponentiate', 'params', params)
    return ExponentiateState(jnp.zeros([], jnp.int32))

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('exponentiate', updates, params)

    def step(now, g, w, floor):
      c = now.max_exponent
      return _leaves.grown(w, jnp.clip(jnp.sign(w) * g, -c, c), floor)

    updates, _ = leaves.map(
      step,
      numbers.at(state.count),
      extras=[leaves.shrink_floors()],
      inside=leaves.mask(mask),
    )
    return updates, ExponentiateState(optax.safe_increment(state.count))

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
