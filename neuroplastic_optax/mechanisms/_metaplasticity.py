"""Metaplasticity: large weights resist being shrunk."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class MetaplasticityState(NamedTuple):
  """The state of `metaplasticity`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.


def metaplasticity(
  strength: _types.ScalarOrSchedule = 1.0,
  mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Makes large weights hard to shrink.

  Use it against forgetting where tasks follow one another without boundaries,
  above all in binarized networks, whose hidden weights w it was made for: there
  |w| says how often a weight has been asked to keep its sign. With w the params
  and g the incoming update, which is still to be subtracted,

      u = g ⊙ (1 - tanh²(μ·|w|))   where g ⊙ w > 0, so that the step shrinks |w|
      u = g                         elsewhere

  Args:
    strength: μ ≥ 0, a number or a schedule of the update count.
    mask: the leaves to act on, as in `optax.masked`. None for those of rank 2
      and more, which leaves out biases and the parameters of normalisation.

  Returns:
    A gradient transformation, whose state is a `MetaplasticityState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `update` is called
      without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.metaplasticity()
    >>> params = jnp.array([[2.0, -2.0]])
    >>> updates, _ = tx.update(jnp.ones((1, 2)), tx.init(params), params)
    >>> print(updates.round(2))  # The first would shrink.
    [[0.07 1.  ]]

  References:
    Laborieux et al., `Synaptic Metaplasticity in Binarized Neural Networks
    <https://arxiv.org/abs/2003.03533>`_, 2021
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled)
  )
  _trees.check_mask('mask', mask)

  def init_fn(params):
    _leaves.flatten('metaplasticity', 'params', params)
    return MetaplasticityState(jnp.zeros([], jnp.int32))

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('metaplasticity', updates, params)

    def step(now, g, w):
      # By signs: the product of small numbers would vanish.
      shrinks = jnp.sign(g) * jnp.sign(w) > 0
      resistance = jnp.square(jnp.tanh(now.strength * jnp.abs(w)))
      return jnp.where(shrinks, g * (1 - resistance), g)

    updates, _ = leaves.map(
      step,
      numbers.at(state.count),
      inside=leaves.kernels(mask, leaves.stacked()),
    )
    return updates, MetaplasticityState(optax.safe_increment(state.count))

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
