"""Normalise and project: every tensor keeps its initial norm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _kernels
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class NormalizeAndProjectState(NamedTuple):
  """The state of `normalize_and_project`.

  Attributes:
    norms: ‖w₀‖ of each tensor at `init`: a tuple with an array for each leaf,
      whose axes have size 1 but for stacked axes, at least float32; 0 for
      leaves outside the mask.
  """

  norms: Any


def normalize_and_project(
  mask: Any = None,
  *,
  stacked_axes: Any = None,
  axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Keeps every tensor at its initial norm.

  Use it in networks with normalisation layers, where the norm of a kernel does
  not matter to the function but divides its effective learning rate: as norms
  grow, such networks learn ever more slowly. Chain it last, after the learning
  rate. With w a tensor, w₀ what it was at `init`, and g what would be added,

      u = (w + g)·‖w₀‖ / ‖w + g‖ - w

  so that the norm after the update is ‖w₀‖. Where ‖w₀‖ or ‖w + g‖ is 0, u = g.
  This is the projection of the paper alone: put normalisation layers into the
  model yourself.

  Args:
    mask: the leaves to act on, as in `optax.masked`. None for those of rank 2
      and more, stacked axes aside.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. Each keeps its own norm.
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`.

  Returns:
    A gradient transformation, whose state is a `NormalizeAndProjectState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(optax.sgd(1.0), mechanisms.normalize_and_project())
    >>> params = jnp.array([[3.0, 4.0]])
    >>> updates, _ = tx.update(-params, tx.init(params), params)
    >>> print(optax.apply_updates(params, updates))
    [[3. 4.]]

  References:
    Lyle et al., `Normalization and Effective Learning Rates in Reinforcement
    Learning <https://arxiv.org/abs/2407.01800>`_, 2024
  """
  _trees.check_mask('mask', mask)
  _trees.check_stacked_axes(stacked_axes)
  _trees.check_axis_name(axis_name)

  def init_fn(params: _types.Params) -> NormalizeAndProjectState:
    flat = _leaves.flatten('normalize_and_project', 'params', params)
    stacked = _trees.stacked(stacked_axes, flat)
    norms = [
      _first_norm(*row)
      for row in zip(
        flat.leaves,
        _leaves.kernels('mask', mask, flat, stacked),
        stacked,
        _trees.axis_names(axis_name, flat),
        strict=True,
      )
    ]
    return NormalizeAndProjectState(_leaves.per_leaf(flat, norms))

  def update_fn(
    updates: _types.Updates,
    state: NormalizeAndProjectState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, NormalizeAndProjectState]:
    del extra_args
    flat = _leaves.flatten('normalize_and_project', 'updates', updates)
    weights = _leaves.params_of('normalize_and_project', flat, params)
    like = _trees.Flat(weights, flat.treedef)
    stacked = _trees.stacked(stacked_axes, like)
    leaves, _ = _leaves.advance(
      _step,
      None,
      flat.leaves,
      reads=[weights, _leaves.kept_per_leaf(flat, state.norms)],
      extras=[stacked, _trees.axis_names(axis_name, like)],
      inside=_leaves.kernels('mask', mask, like, stacked),
    )
    return flat.unflatten(leaves), state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _first_norm(
  leaf: Any, inside: bool, stacked: int, names: tuple[str, ...] | None
) -> Any:
  """The norms of a leaf at `init`, whole arrays outside of `shard_map`."""
  if leaf is None:
    return None
  dtype = _leaves.wide_dtype(leaf)
  if not inside or _leaves.is_absent(leaf):
    return jnp.zeros([], dtype)
  axes = _kernels.all_axes(leaf, stacked)
  wide = jnp.asarray(leaf).astype(dtype)
  # A norm may be more than the largest number, though no element is.
  return _leaves.finite(_kernels.norms(wide, axes, _noise.bound(names)))


def _step(
  _: None,
  g: jax.Array,
  w: jax.Array,
  aim: jax.Array,
  stacked: int,
  names: tuple[str, ...] | None,
) -> tuple[jax.Array]:
  axes = _kernels.all_axes(w, stacked)
  moved = _leaves.finite(w + g)
  norm = _leaves.finite(_kernels.norms(moved, axes, names))
  # Where it is not defined, the factor would be 0 or infinite.
  defined = ((aim > 0) & (norm > 0)).astype(g.dtype)
  ratio = _leaves.finite(aim / jnp.where(norm > 0, norm, jnp.ones_like(norm)))
  projected = _leaves.finite(_leaves.product(moved, ratio) - w)
  return (defined * projected + (1 - defined) * g,)
