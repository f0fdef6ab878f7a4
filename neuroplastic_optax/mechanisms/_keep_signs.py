"""Sign-constrained descent: a weight stops at 0 before it changes sign."""

from typing import Any

import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax.mechanisms import _leaves


def keep_signs(mask: Any = None) -> optax.GradientTransformationExtraArgs:
  """Stops a weight at 0 where a step would change its sign.

  Use it to keep weights from changing sign within a step, as in networks of
  excitatory and inhibitory neurons, while steps stay additive and weights can
  become exactly 0. It is not safe for Dale's law: a weight that has become 0
  is free to take either sign at the next update. `exponentiate` is safe. Chain
  it last, after the learning rate. With w the params and g what would be added
  to them,

      u = -w   where w + g has the other sign than w
      u = g    elsewhere

  Args:
    mask: the leaves to act on, as in `optax.masked`. None for all.

  Returns:
    A gradient transformation, whose state is an `optax.EmptyState`. Its
    `update` needs the params.

  Raises:
    TypeError: `mask` has the wrong type, or a leaf is not floating.
    ValueError: `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.keep_signs()
    >>> params = jnp.array([1.0, 1.0, 0.0])
    >>> step = jnp.array([-0.5, -3.0, -1.0])
    >>> updates, _ = tx.update(step, tx.init(params), params)
    >>> print(params + updates)
    [ 0.5  0.  -1. ]
  """
  _trees.check_mask('mask', mask)

  def init_fn(params):
    _leaves.flatten('keep_signs', 'params', params)
    return optax.EmptyState()

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('keep_signs', updates, params)

    def step(_, g, w):
      return jnp.where(jnp.sign(w) * jnp.sign(w + g) < 0, -w, g)

    updates, _ = leaves.map(step, inside=leaves.mask(mask))
    return updates, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
