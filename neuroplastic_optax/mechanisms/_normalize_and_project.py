"""Normalise and project: every tensor keeps its initial norm."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from neuroplastic_optax import _trees
from neuroplastic_optax.mechanisms import _leaves


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
) -> optax.GradientTransformationExtraArgs:
  """Keeps every tensor at its initial norm.

  Use it in networks with normalisation layers, where the norm of a kernel does
  not matter to the function but divides its effective learning rate: as norms
  grow, such networks learn ever more slowly. Chain it last, after the learning
  rate. With w a tensor, w₀ what it was at `init`, and g what would be added,

      u = (w + g)·‖w₀‖ / ‖w + g‖ - w

  so that the norm after the update is ‖w₀‖. Where ‖w₀‖ or ‖w + g‖ is 0, u = g.
  This is the projection of the paper alone: put normalisation layers into the
  model yourself. The paper also keeps their scales and offsets near the initial
  values; here leaves of rank less than 2 are left alone.

  Args:
    mask: the leaves to act on, as in `optax.masked`. None for those of rank 2
      and more, stacked axes aside.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. Each keeps its own norm.

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

  def init_fn(params):
    leaves = _leaves.flatten('normalize_and_project', 'params', params)
    stacked = leaves.stacked(stacked_axes)

    def first_norm(leaf, inside, n):
      dtype = _leaves.wide_dtype(leaf)
      if not inside or _leaves.is_absent(leaf):
        return jnp.zeros([], dtype)
      wide = jnp.asarray(leaf).astype(dtype)
      # A norm may be more than the largest number, though no element is.
      return _leaves.finite(_leaves.norms(wide, _leaves.axes(leaf, n)))

    norms = leaves.each(first_norm, leaves.kernels(mask, stacked), stacked)
    return NormalizeAndProjectState(leaves.per_leaf(norms))

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('normalize_and_project', updates, params)
    stacked = leaves.stacked(stacked_axes)

    def step(_, g, w, aim, n):
      aim = aim.astype(g.dtype)
      moved = _leaves.finite(w + g)
      norm = _leaves.finite(_leaves.norms(moved, _leaves.axes(w, n)))
      factor = _leaves.ratio(aim, norm)
      projected = _leaves.finite(_leaves.product(moved, factor) - w)
      # Where it is not defined, the factor would be 0 or infinite.
      defined = ((aim > 0) & (norm > 0)).astype(g.dtype)
      return defined * projected + (1 - defined) * g

    updates, _ = leaves.map(
      step,
      extras=[leaves.of_leaves(state.norms), stacked],
      inside=leaves.kernels(mask, stacked),
    )
    return updates, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
