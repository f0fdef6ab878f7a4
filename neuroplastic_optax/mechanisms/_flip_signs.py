"""Curl descent: some weights learn against the gradient."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _kernels
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise

_AXES = ('input', 'output', 'element')


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
  numbers = _numbers.Numbers(
    fraction=(fraction, _numbers.FRACTION.scheduled),
  )
  _numbers.check_choice('axis', axis, _AXES)
  _trees.check_mask('mask', mask)
  _trees.check_stacked_axes(stacked_axes)
  _noise.check_key(key)

  def init_fn(params: _types.Params) -> FlipSignsState:
    flat = _leaves.flatten('flip_signs', 'params', params)
    data = _noise.key_data(key)
    now = numbers.at(jnp.zeros([], jnp.int32)).fraction
    stacked = _trees.stacked(stacked_axes, flat)
    inside = _trees.mask('mask', mask, flat)
    signs = [
      _draw(jax.random.fold_in(_noise.threefry(data), i), leaf, now, axis, n)
      if leaf is not None and taken and _kernels.rank(leaf, n) > 1
      else _untouched(leaf, axis)
      for i, (leaf, n, taken) in enumerate(
        zip(flat.leaves, stacked, inside, strict=True)
      )
    ]
    if axis == 'element':
      return FlipSignsState(data, flat.unflatten(signs))
    return FlipSignsState(data, _leaves.per_leaf(flat, signs))

  def update_fn(
    updates: _types.Updates,
    state: FlipSignsState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, FlipSignsState]:
    del params, extra_args
    flat = _leaves.flatten('flip_signs', 'updates', updates)
    if axis == 'element':
      signs = flat.align('state.signs', state.signs)
    else:
      signs = _leaves.kept_per_leaf(flat, state.signs)

    def step(_: None, g: jax.Array, signs: jax.Array) -> tuple[jax.Array]:
      return (g * signs.astype(g.dtype),)

    leaves, _ = _leaves.advance(step, None, flat.leaves, extras=[signs])
    return flat.unflatten(leaves), state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _untouched(leaf: Any, axis: str) -> Any:
  """The signs of a leaf that is left alone."""
  if leaf is None:
    return None
  if axis == 'element':
    return jnp.ones_like(leaf, dtype=jnp.int8)
  return jnp.ones([], jnp.int8)


def _draw(
  key: jax.Array, leaf: jax.Array, fraction: Any, axis: str, stacked: int
) -> jax.Array:
  """The signs of one leaf."""
  shape = jnp.shape(leaf)
  sizes = [1] * (len(shape) - stacked)
  if axis == 'element':
    sizes = list(shape[stacked:])
  else:
    place = -2 if axis == 'input' else -1
    sizes[place] = shape[place]
  count = 1
  for size in sizes:
    count *= size
  flipped = _rounded(fraction, count)

  def slice_signs(key: jax.Array) -> jax.Array:
    ranks = jax.random.permutation(key, count)
    signs = jnp.where(ranks < flipped, -1, 1).astype(jnp.int8)
    return signs.reshape(sizes)

  leading = shape[:stacked]
  keys = jax.random.split(key, leading)
  signs = _trees.over_slices(slice_signs, stacked)(keys if stacked else key)
  if axis == 'element':
    # Where the params are sharded, so are their signs.
    ones = jnp.ones_like(leaf, dtype=jnp.int8)
    return ones * signs
  return signs


def _rounded(fraction: Any, count: int) -> Any:
  """`round(fraction · count)`, to even where it is half way."""
  if _numbers.is_known(fraction):
    return round(float(fraction) * count)
  exact = jnp.asarray(fraction).astype(jnp.result_type(float)) * count
  return jnp.round(exact).astype(jnp.int32)
