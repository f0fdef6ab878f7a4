"""Bounds for weights, from the number of inputs of a unit."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types


def fan_in_bounds(
  scale: _types.ArrayLike = 1.0, *, stacked_axes: Any = None
) -> Callable[[_types.Params], Any]:
  """The bounds κ/√fan_in of `clip_weights`, for all leaves of a model.

  Use it as `clip_weights(fan_in_bounds())`: the bounds are then κ times those
  of uniform initial values with variance 1 / (3·fan_in), which Linear layers
  of PyTorch have. The fan-in of a kernel [..., in, out] is the product of all
  its axes but the last. A leaf of rank less than 2, such as a bias, takes the
  bound of the one kernel, a leaf of rank 2 or more, under the same parent.
  Where there is none, or more than one, its bound is infinite.

  The authors' program gives a leaf of rank 1 the fan-in of the kernel before it
  in the order of the model, so that scales of normalisation are clipped too. A
  switch of theirs leaves out the kernel and the bias of the last layer:
  `optax.masked` does so here.

  Args:
    scale: κ > 0.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. They count neither for the rank nor for the fan-in.

  Returns:
    A callable of the params that returns a tree of bounds like them.

  Raises:
    TypeError: an argument has the wrong type; also if the function gets a count
      of updates, which `optax.inject_hyperparams` passes, in place of params.
    ValueError: a Python or NumPy number is out of range.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> layer = {'kernel': jnp.ones((4, 3)), 'bias': jnp.ones(3)}
    >>> params = {'dense': layer, 'scale': jnp.ones(3)}
    >>> mechanisms.fan_in_bounds()(params)
    {'dense': {'bias': 0.5, 'kernel': 0.5}, 'scale': inf}

  References:
    Elsayed et al., `Weight Clipping for Deep Continual and Reinforcement
    Learning <https://arxiv.org/abs/2407.01704>`_, 2024
  """
  _numbers.POSITIVE.check('scale', scale)
  _trees.check_stacked_axes(stacked_axes)

  def bounds(params: _types.Params) -> Any:
    _refuse_count(params)
    flat = _trees.flatten(params)
    stacked = _trees.stacked(stacked_axes, flat)
    # Of what holds a leaf.
    parents = flat.map_with_path(
      lambda path, _: jax.tree_util.keystr(_trees.plain(path)[:-1])
    )
    own: list[Any] = [None] * len(flat.leaves)
    of_kernels: dict[Any, list[Any]] = {parent: [] for parent in parents}
    for i, leaf in enumerate(flat.leaves):
      if leaf is not None and jnp.ndim(leaf) - stacked[i] > 1:
        own[i] = _bound(scale, math.prod(jnp.shape(leaf)[stacked[i] : -1]))
        of_kernels[parents[i]].append(own[i])
    for i, leaf in enumerate(flat.leaves):
      if leaf is not None and own[i] is None:
        kernels = of_kernels[parents[i]]
        own[i] = kernels[0] if len(kernels) == 1 else math.inf
    return flat.unflatten(own)

  return bounds


def _refuse_count(params: Any) -> None:
  """Raises TypeError for a count, by which Optax calls a schedule."""
  count = isinstance(params, jax.Array | int) and not jnp.ndim(params)
  if count and jnp.issubdtype(jnp.result_type(params), jnp.integer):
    raise TypeError(
      f'fan_in_bounds gives a function of the params, got {params!r} for them. '
      'optax.inject_hyperparams takes a function for a schedule of the update '
      "count: pass static_args='bound'."
    )


def _bound(scale: Any, fan_in: int) -> Any:
  if not fan_in:
    return math.inf
  if _numbers.is_known(scale):
    scale = float(scale)
  return scale / math.sqrt(fan_in)
