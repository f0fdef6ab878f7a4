"""Curl descent: some weights learn against the gradient."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class FlipSignsState(NamedTuple):
  """The state of `flip_signs`.

  Attributes:
    key: the words of the key, uint32 [2] for the usual kind of key.
    signs: D, int8. With `axis="element"` it is a tree like the params, else a
      tuple with an array for each leaf, whose axes have size 1 but for stacked
      axes and the one along which signs differ; 1 for leaves that are left
      alone.
  """

  key: jax.Array
  signs: Any


def flip_signs(
  fraction: _types.ScalarOrSchedule = 0.1,
  axis: Literal['input', 'output', 'element'] = 'input',
  mask: Any = None,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Lets a fixed part of the neurons learn against the gradient.

  Use it to study learning rules that descend no loss, such as those of circuits
  in which some neurons follow an anti-Hebbian rule. With few flipped signs
  training can still converge; with many it diverges. With g the incoming update
  of a kernel [..., in, out],

      u = D ⊙ g

  where D is ±1. It is drawn once, at `init`: exactly `round(fraction · n)` of
  the n places along an axis are -1, and D is constant along all other axes.
  Leaves of rank less than 2, such as biases, are left alone.

  Chain it after `neuroplastic`, not before: |g| forgets signs.

  Args:
    fraction: the part of the signs that is flipped, in [0, 1]. It is read once;
      a schedule is read at 0.
    axis: along which axis of a kernel signs differ, "input" or "output", or
      "element" for every element. Convolutions have several input axes; "input"
      is the last of those, the channels.
    mask: the leaves to act on, as in `optax.masked`. None for all.
    key: an int seed or a JAX key.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. Each tensor draws signs of its own.

  Returns:
    A gradient transformation, whose state is a `FlipSignsState`.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `axis` is unknown.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.flip_signs(fraction=0.5)
    >>> params = {'kernel': jnp.ones((4, 3)), 'bias': jnp.ones(3)}
    >>> updates, _ = tx.update(params, tx.init(params))
    >>> print(sorted(updates['kernel'][:, 0].tolist()))
    [-1.0, -1.0, 1.0, 1.0]
    >>> print(updates['bias'])
    [1. 1. 1.]

  References:
    `Curl Descent: Non-Gradient Learning Dynamics with Sign-Diverse Plasticity
    <https://arxiv.org/abs/2510.02765>`_, 2025
  """
  numbers = _numbers.Numbers(fraction=(fraction, _numbers.FRACTION.scheduled))
  _numbers.check_choice('axis', axis, ('input', 'output', 'element'))
  _trees.check_mask('mask', mask)
  _trees.check_stacked_axes(stacked_axes)
  _noise.check_key(key)

  def init_fn(params):
    leaves = _leaves.flatten('flip_signs', 'params', params)
    data = _noise.key_data(key)
    now = numbers.at(jnp.zeros([], jnp.int32))

    def draw(leaf, i, inside, stacked):
      if not inside or jnp.ndim(leaf) - stacked < 2:
        shape = jnp.shape(leaf) if axis == 'element' else ()
        return jnp.ones(shape, jnp.int8)
      key = jax.random.fold_in(_noise.threefry(data), i)
      return _draw(key, leaf, now.fraction, axis, stacked)

    signs = leaves.each(
      draw, range(len(leaves)), leaves.mask(mask), leaves.stacked(stacked_axes)
    )
    form = leaves.tree if axis == 'element' else leaves.per_leaf
    return FlipSignsState(data, form(signs))

  def update_fn(updates, state, params=None, **extra_args):
    del params, extra_args
    leaves = _leaves.flatten('flip_signs', 'updates', updates)
    form = leaves.align if axis == 'element' else leaves.of_leaves

    def step(_, g, signs):
      return g * signs.astype(g.dtype)

    updates, _ = leaves.map(step, extras=[form(state.signs)])
    return updates, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _draw(
  key: jax.Array, leaf: jax.Array, fraction: Any, axis: str, stacked: int
) -> jax.Array:
  """The signs of one leaf."""
  shape = jnp.shape(leaf)
  sizes = list(shape[stacked:])
  if axis != 'element':
    place = -2 if axis == 'input' else -1
    sizes = [1] * len(sizes)
    sizes[place] = shape[place]
  count = math.prod(sizes)
  flipped = _leaves.rounded(fraction, count)

  def slice_signs(key: jax.Array) -> jax.Array:
    ranks = jax.random.permutation(key, count)
    signs = jnp.where(ranks < flipped, -1, 1).astype(jnp.int8)
    return signs.reshape(sizes)

  keys = jax.random.split(key, shape[:stacked]) if stacked else key
  signs = _trees.over_slices(slice_signs, stacked)(keys)
  if axis == 'element':
    # Where the params are sharded, so are their signs.
    return jnp.ones_like(leaf, dtype=jnp.int8) * signs
  return signs
