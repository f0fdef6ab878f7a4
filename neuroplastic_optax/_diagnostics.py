"""Diagnostics: what the last update did, computed on the device.

Each tensor gives a few sums, extremes and a histogram; the statistics that
people look at follow from those, of one tensor or pooled over all elements.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _reductions
from neuroplastic_optax import _trees
from neuroplastic_optax._state import NeuroplasticState

BINS = 64
MODES = ('global', 'per_leaf')
Mode = Literal['global', 'per_leaf']


class Statistics(NamedTuple):
  """Of one tensor at one update; scalars but for the histogram.

  With stacked axes each has their sizes as leading shape.
  """

  alpha_mean: jax.Array
  alpha_std: jax.Array
  alpha_median: jax.Array
  alpha_min: jax.Array
  alpha_max: jax.Array
  alpha_fraction_near_min: jax.Array
  alpha_fraction_near_max: jax.Array
  alpha_histogram: jax.Array  # int32 [BINS]
  gradient_norm: jax.Array
  parameter_norm: jax.Array
  modulation_norm: jax.Array
  raw_update_norm: jax.Array
  update_norm: jax.Array
  controller_multiplier: jax.Array


def zeros(shape: tuple[int, ...] = ()) -> Statistics:
  """The statistics before the first update, and of an empty tensor."""
  scalars = {name: jnp.zeros(shape) for name in Statistics._fields}
  scalars['alpha_histogram'] = jnp.zeros((*shape, BINS), jnp.int32)
  return Statistics(**scalars)


def histogram(
  alpha: jax.Array,
  low: _hyperparameters.Scalar,
  high: _hyperparameters.Scalar,
  reductions: _reductions.Reductions,
) -> jax.Array:
  """Counts of α in `BINS` equal bins over [low, high], int32 [BINS].

  Values outside are counted in the end bins.
  """
  width = (high - low) / BINS
  position = (alpha - low) / jnp.where(width > 0, width, 1.0)
  index = jnp.clip(position, 0, BINS - 1).astype(jnp.int32)
  mesh = jax.typeof(index).sharding.mesh
  explicit = tuple(
    name
    for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
    if kind == jax.sharding.AxisType.Explicit
  )
  count: Any = _count
  if explicit:
    # A scatter of what is sharded is refused where shardings are in the types.
    count = jax.sharding.auto_axes(_count, axes=explicit, out_sharding=jax.P())
  return reductions.total(count(index))


def _count(index: jax.Array) -> jax.Array:
  return jax.lax.platform_dependent(
    index, tpu=_count_by_comparing, default=_count_by_scattering
  )


def _count_by_scattering(index: jax.Array) -> jax.Array:
  return jnp.zeros(BINS, jnp.int32).at[index].add(1)


def _count_by_comparing(index: jax.Array) -> jax.Array:
  """Where a scatter would go one element at a time."""
  axes = tuple(range(index.ndim))
  return jnp.sum(
    index[..., None] == jnp.arange(BINS), axis=axes, dtype=jnp.int32
  )


def median(
  counts: jax.Array, low: _hyperparameters.Scalar, high: _hyperparameters.Scalar
) -> jax.Array:
  """The median of a histogram, linear within its bin."""
  # Not by a search and an index: neither can be batched over a sharded axis
  # where shardings are in the types.
  bins, counts = jnp.arange(BINS), counts.astype(jnp.float32)
  half = jnp.sum(counts) / 2
  b = jnp.minimum(jnp.sum(jnp.cumsum(counts) < half), BINS - 1)
  below = jnp.sum(jnp.where(bins < b, counts, 0.0))
  inside = jnp.sum(jnp.where(bins == b, counts, 0.0))
  fraction = (half - below) / jnp.maximum(inside, 1)
  return low + (high - low) * (b + fraction) / BINS


def pool(each: Sequence[Statistics], bounds: Sequence[Any]) -> Statistics:
  """The statistics of all elements of several tensors together.

  Args:
    each: of every tensor; those of a stacked one have a leading shape.
    bounds: α_min and α_max.

  Returns:
    Scalars. The controller's multiplier is the mean over tensors (slices), all
    others are over elements.
  """
  if not each:
    return zeros()
  # Each leaf is reduced by itself: what is sharded differently cannot be
  # concatenated where shardings are part of the types.
  sizes = [_sum_bins(s.alpha_histogram) for s in each]
  n = _total(sizes)

  def mean(values: Sequence[jax.Array]) -> jax.Array:
    return _total([m / n * x for m, x in zip(sizes, values, strict=True)])

  alpha_mean = mean([s.alpha_mean for s in each])
  variance = mean(
    [s.alpha_std**2 + (s.alpha_mean - alpha_mean) ** 2 for s in each]
  )
  counts = _pooled_counts([s.alpha_histogram for s in each])
  low, high = (_hyperparameters.cast(bound, jnp.float32) for bound in bounds)
  multipliers = [s.controller_multiplier for s in each]
  tensors = sum(multiplier.size for multiplier in multipliers)
  norms = {
    name: _pooled_norm([getattr(s, name) for s in each])
    for name in Statistics._fields
    if name.endswith('_norm')
  }
  return Statistics(
    alpha_mean=alpha_mean,
    alpha_std=jnp.sqrt(variance),
    alpha_median=median(counts, low, high),
    alpha_min=jnp.min(_reduced(jnp.min, [s.alpha_min for s in each])),
    alpha_max=jnp.max(_reduced(jnp.max, [s.alpha_max for s in each])),
    alpha_fraction_near_min=mean([s.alpha_fraction_near_min for s in each]),
    alpha_fraction_near_max=mean([s.alpha_fraction_near_max for s in each]),
    alpha_histogram=counts,
    controller_multiplier=_total(multipliers) / tensors,
    **norms,
  )


def _reduced(
  reduction: Callable[[jax.Array], jax.Array], values: Sequence[jax.Array]
) -> jax.Array:
  """A scalar of each leaf, stacked."""
  return jnp.stack([reduction(value) for value in values])


def _total(values: Sequence[jax.Array]) -> jax.Array:
  """The sum over all slices of all leaves."""
  return jnp.sum(_reduced(jnp.sum, values))


def _sum_bins(counts: jax.Array) -> jax.Array:
  """How many elements each slice has: float32, which cannot overflow."""
  return jnp.sum(counts.astype(jnp.float32), axis=-1)


def _pooled_counts(histograms: Sequence[jax.Array]) -> jax.Array:
  """The histogram of all slices of all leaves, int32 [BINS].

  A count beyond the largest int32 becomes that.
  """
  each = [jnp.sum(x, axis=tuple(range(x.ndim - 1))) for x in histograms]
  counts = jnp.sum(jnp.stack(each), axis=0)
  wide = jnp.sum(jnp.stack(each).astype(jnp.float32), axis=0)
  largest = jnp.iinfo(jnp.int32).max
  # float32 has 24 bits: near the end of int32's range it is too coarse.
  return jnp.where(wide > 0.999 * largest, largest, counts)


def _pooled_norm(norms: Sequence[jax.Array]) -> jax.Array:
  """The norm of all tensors together, where squares might overflow."""
  largest = jnp.max(_reduced(jnp.max, norms))
  scale = jnp.where(largest > 0, largest, 1.0)
  return scale * jnp.sqrt(_total([(norm / scale) ** 2 for norm in norms]))


@dataclasses.dataclass(frozen=True)
class PerLeaf:
  """The statistics of every leaf, and the structure of the params.

  The structure is static: in the state, a tree like the params would pass for
  one of their copies, to be sharded or masked as they are.
  """

  statistics: tuple[Statistics | None, ...]
  treedef: Any

  def trees(self) -> dict[str, Any]:
    """By name, a tree like the params."""
    return {
      name: self.treedef.unflatten(
        [
          None if each is None else _array(getattr(each, name))
          for each in self.statistics
        ]
      )
      for name in Statistics._fields
    }


jax.tree_util.register_pytree_with_keys(
  PerLeaf,
  lambda x: (
    ((jax.tree_util.GetAttrKey('statistics'), x.statistics),),
    x.treedef,
  ),
  lambda treedef, children: PerLeaf(next(iter(children)), treedef),
)


def initial(
  mode: Mode | None, flat: _trees.Flat, stacked_axes: Sequence[int]
) -> Any:
  """What the state holds before the first update: zeros."""
  if mode is None:
    return None
  if mode == 'global':
    return zeros()
  return _per_leaf(flat, stacked_axes, [None] * len(flat.leaves))


def collect(
  mode: Mode,
  flat: _trees.Flat,
  stacked_axes: Sequence[int],
  statistics: Sequence[Statistics | None],
  bounds: Sequence[Any],
) -> Any:
  """What the state holds after an update.

  Args:
    mode: 'global' or 'per_leaf'.
    flat: the updates.
    stacked_axes: of each leaf.
    statistics: of each leaf; None of None and of empty leaves.
    bounds: α_min and α_max.

  Returns:
    A `Statistics` or a `PerLeaf`.
  """
  if mode == 'global':
    return pool([each for each in statistics if each is not None], bounds)
  return _per_leaf(flat, stacked_axes, statistics)


def _per_leaf(
  flat: _trees.Flat,
  stacked_axes: Sequence[int],
  statistics: Sequence[Statistics | None],
) -> Any:
  if not flat.leaves:
    # One leaf: so `optax.tree.map_params`, which has a placeholder for the
    # params, finds no structure that it could miss in the true state.
    return jnp.zeros([])
  filled = [
    zeros(jnp.shape(leaf)[:axes]) if each is None and leaf is not None else each
    for leaf, axes, each in zip(
      flat.leaves, stacked_axes, statistics, strict=True
    )
  ]
  return PerLeaf(tuple(filled), flat.treedef)


def get_diagnostics(opt_state: optax.OptState) -> dict[str, Any]:
  """What the last update did.

  Works on any state that holds a `NeuroplasticState`: of `chain`, `masked`,
  `inject_hyperparams` and so on, and on an `nnx.Optimizer`. Under `jit` too.

  Args:
    opt_state: the state of an optimizer built with `diagnostics="global"` or
      `"per_leaf"`.

  Returns:
    By name, a float32 scalar over all elements of all leaves ("global"), or a
    tree like the params, with the leading shape of stacked axes ("per_leaf"):

    - `alpha_mean`, `alpha_std`, `alpha_min`, `alpha_max`: of α;
      `alpha_median`: from the histogram.
    - `alpha_fraction_near_min`, `alpha_fraction_near_max`: the fraction of
      elements whose α is within 5 % of the range of a bound, or beyond it.
    - `alpha_histogram`: int32 [64], counts in equal bins over
      [min_alpha, max_alpha]; values outside are in the end bins.
    - `gradient_norm`, `parameter_norm`: ‖g‖ and ‖θ‖ (NaN where the params
      were not passed).
    - `modulation_norm`: ‖u - b‖ before decay; `raw_update_norm`: ‖u‖ before
      homeostasis; `update_norm`: as emitted.
    - `controller_multiplier`: the mean over leaves.

    All are zero before the first update.

  Raises:
    ValueError: there is no such state, or more than one, or its diagnostics
      are off.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import get_diagnostics, neuroplastic_optimizer
    >>> tx = neuroplastic_optimizer(0.1, diagnostics='global')
    >>> params = jnp.array([1.0, 2.0, 3.0])
    >>> _, state = tx.update(2 * params, tx.init(params), params)
    >>> f'{get_diagnostics(state)["alpha_max"]:.2f}'
    '1.40'
  """
  is_ours = lambda x: isinstance(x, NeuroplasticState)
  found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_ours) if is_ours(x)]
  if len(found) != 1:
    raise ValueError(
      f'opt_state must hold one NeuroplasticState, it holds {len(found)}. '
      'Pass the state of a neuroplastic transformation, or the part of a '
      'larger state that holds the one that is wanted.'
    )
  kept = found[0].diagnostics
  if kept is None:
    raise ValueError(
      'the diagnostics of this optimizer are off: build it with '
      'diagnostics="global" or diagnostics="per_leaf".'
    )
  if isinstance(kept, PerLeaf):
    return kept.trees()
  if not isinstance(kept, Statistics):
    return {name: {} for name in Statistics._fields}  # No leaves.
  return {name: _array(value) for name, value in kept._asdict().items()}


def _array(value: Any) -> jax.Array:
  """The array in a leaf, which `nnx.Optimizer` wraps in a variable."""
  return jax.tree.leaves(value)[0]
