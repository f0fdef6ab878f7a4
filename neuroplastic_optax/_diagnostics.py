"""Diagnostics: what the last update did, computed on the device.

`_TABLE` says of every statistic how it is measured of one tensor and how it is
pooled over the elements of several tensors.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _reductions
from neuroplastic_optax import _tensor
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax._state import NeuroplasticState

BINS = 64
MODES = ('global', 'per_leaf')
Mode = Literal['global', 'per_leaf']


class Statistics(NamedTuple):
  """The statistics of one tensor, or of several pooled, at one update.

  They are float32 scalars but for the histogram. With stacked axes, each has
  the sizes of those axes as leading shape.
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
  scalars = {name: jnp.zeros(shape, jnp.float32) for name in Statistics._fields}
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
    index[..., None] == jnp.arange(BINS, dtype=jnp.int32),
    axis=axes,
    dtype=jnp.int32,
  )


def median(
  counts: jax.Array, low: _hyperparameters.Scalar, high: _hyperparameters.Scalar
) -> jax.Array:
  """The median of a histogram, linear within its bin."""
  # Not by a search and an index: neither can be batched over a sharded axis
  # where shardings are in the types.
  low, high = _bounds(low, high)
  bins = jnp.arange(BINS, dtype=jnp.float32)
  counts = counts.astype(jnp.float32)
  half = jnp.sum(counts) / 2
  before = jnp.sum(jnp.cumsum(counts) < half, dtype=jnp.float32)
  b = jnp.minimum(before, BINS - 1)
  below = jnp.sum(jnp.where(bins < b, counts, 0.0))
  inside = jnp.sum(jnp.where(bins == b, counts, 0.0))
  fraction = (half - below) / jnp.maximum(inside, 1)
  return low + (high - low) * (b + fraction) / BINS


def _bounds(
  *bounds: _hyperparameters.Scalar,
) -> Sequence[_hyperparameters.Scalar]:
  """α_min and α_max for arithmetic in float32."""
  return [_hyperparameters.cast(bound, jnp.float32) for bound in bounds]


@dataclasses.dataclass(frozen=True)
class Sample:
  """One tensor at one update, of which statistics are measured.

  Attributes:
    tensor: what the rule saw.
    modulated: what the rule made of it.
    raw_update: u before homeostasis.
    factor: what homeostasis multiplies u by.
    low: α_min.
    high: α_max.
  """

  tensor: _tensor.Tensor
  modulated: jax.Array
  raw_update: jax.Array
  factor: Any
  low: _hyperparameters.Scalar
  high: _hyperparameters.Scalar

  @functools.cached_property
  def alpha(self) -> jax.Array:
    return self.tensor.filled(self.tensor.alpha)

  @functools.cached_property
  def alpha_mean(self) -> jax.Array:
    return self.tensor.mean(self.alpha)

  @functools.cached_property
  def counts(self) -> jax.Array:
    return histogram(self.alpha, self.low, self.high, self.tensor.reductions)

  @functools.cached_property
  def raw_norm(self) -> jax.Array:
    return self.tensor.norm(self.raw_update)

  @property
  def near(self) -> _hyperparameters.Scalar:
    """The distance from a bound within which α counts as near it."""
    return 0.05 * (self.high - self.low)

  def alpha_std(self) -> jax.Array:
    return jnp.sqrt(self.tensor.mean(jnp.square(self.alpha - self.alpha_mean)))

  def fraction(self, where: jax.Array) -> jax.Array:
    return self.tensor.mean(where.astype(self.alpha.dtype))

  def parameter_norm(self) -> jax.Array:
    if self.tensor.parameter is None:
      return jnp.full_like(self.raw_norm, jnp.nan)
    return self.tensor.norm(self.tensor.parameter)


@dataclasses.dataclass(frozen=True)
class Pool:
  """The statistics of several tensors, to be pooled over their elements.

  Its methods take the values of one statistic. Each leaf is reduced by itself:
  what is sharded differently cannot be concatenated where shardings are part of
  the types.

  Attributes:
    each: the statistics of every tensor; of a stacked one, of every slice.
    low: α_min.
    high: α_max.
  """

  each: Sequence[Statistics]
  low: _hyperparameters.Scalar
  high: _hyperparameters.Scalar

  def column(self, name: str) -> list[jax.Array]:
    return [getattr(statistics, name) for statistics in self.each]

  @functools.cached_property
  def sizes(self) -> list[jax.Array]:
    # float32, which cannot overflow.
    return [
      jnp.sum(counts.astype(jnp.float32), axis=-1)
      for counts in self.column('alpha_histogram')
    ]

  @functools.cached_property
  def size(self) -> jax.Array:
    return _total(self.sizes)

  @functools.cached_property
  def alpha_mean(self) -> jax.Array:
    return self.mean(self.column('alpha_mean'))

  @functools.cached_property
  def counts(self) -> jax.Array:
    """The histogram of all; a count beyond the largest int32 becomes that."""
    each = jnp.stack(
      [
        jnp.sum(x, axis=tuple(range(x.ndim - 1)), dtype=jnp.int32)
        for x in self.column('alpha_histogram')
      ]
    )
    counts = jnp.sum(each, axis=0, dtype=jnp.int32)
    wide = jnp.sum(each.astype(jnp.float32), axis=0)
    largest = jnp.iinfo(jnp.int32).max
    # float32 has 24 bits: near the end of int32's range it is too coarse.
    return jnp.where(wide > 0.999 * largest, largest, counts)

  def mean(self, means: Sequence[jax.Array]) -> jax.Array:
    pairs = zip(self.sizes, means, strict=True)
    return _total([size / self.size * mean for size, mean in pairs])

  def std(self, stds: Sequence[jax.Array]) -> jax.Array:
    pairs = zip(stds, self.column('alpha_mean'), strict=True)
    variances = [std**2 + (mean - self.alpha_mean) ** 2 for std, mean in pairs]
    return jnp.sqrt(self.mean(variances))

  def min(self, values: Sequence[jax.Array]) -> jax.Array:
    return jnp.min(_reduced(jnp.min, values))

  def max(self, values: Sequence[jax.Array]) -> jax.Array:
    return jnp.max(_reduced(jnp.max, values))

  def norm(self, norms: Sequence[jax.Array]) -> jax.Array:
    """The norm of all tensors together, where squares might overflow."""
    largest = self.max(norms)
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.sqrt(_total([(norm / scale) ** 2 for norm in norms]))

  def mean_over_tensors(self, values: Sequence[jax.Array]) -> jax.Array:
    return _total(values) / sum(map(_reductions.count, values))


def _reduced(
  reduction: Callable[[jax.Array], jax.Array], values: Sequence[jax.Array]
) -> jax.Array:
  """A scalar of each leaf, stacked."""
  return jnp.stack([reduction(value) for value in values])


def _total(values: Sequence[jax.Array]) -> jax.Array:
  """The sum over all slices of all leaves."""
  return jnp.sum(_reduced(jnp.sum, values))


class _Row(NamedTuple):
  """How one statistic is made.

  Attributes:
    measure: takes a sample, before the controller multiplies its update.
    pool: takes a pool and the values of the statistic in it.
    multiplied: whether the controller's multiplier multiplies what is measured.
  """

  measure: Callable[[Sample], jax.Array]
  pool: Callable[[Pool, Sequence[jax.Array]], jax.Array]
  multiplied: bool = False


_TABLE = {
  'alpha_mean': _Row(lambda s: s.alpha_mean, lambda p, _: p.alpha_mean),
  'alpha_std': _Row(Sample.alpha_std, Pool.std),
  'alpha_median': _Row(
    lambda s: median(s.counts, s.low, s.high),
    lambda p, _: median(p.counts, p.low, p.high),
  ),
  'alpha_min': _Row(lambda s: s.tensor.reductions.min(s.alpha), Pool.min),
  'alpha_max': _Row(lambda s: s.tensor.reductions.max(s.alpha), Pool.max),
  'alpha_fraction_near_min': _Row(
    lambda s: s.fraction(s.alpha <= s.low + s.near), Pool.mean
  ),
  'alpha_fraction_near_max': _Row(
    lambda s: s.fraction(s.alpha >= s.high - s.near), Pool.mean
  ),
  'alpha_histogram': _Row(lambda s: s.counts, lambda p, _: p.counts),
  'gradient_norm': _Row(lambda s: s.tensor.norm(s.tensor.gradient), Pool.norm),
  'parameter_norm': _Row(Sample.parameter_norm, Pool.norm),
  'modulation_norm': _Row(
    lambda s: s.tensor.norm(s.modulated - s.tensor.base_update), Pool.norm
  ),
  'raw_update_norm': _Row(lambda s: s.raw_norm, Pool.norm),
  'update_norm': _Row(
    lambda s: _homeostasis.scaled(s.raw_norm, s.factor),
    Pool.norm,
    multiplied=True,
  ),
  'controller_multiplier': _Row(
    lambda s: jnp.ones_like(s.raw_norm),
    Pool.mean_over_tensors,
    multiplied=True,
  ),
}


def measure(sample: Sample) -> dict[str, jax.Array]:
  """What can be known of one tensor before the controller has spoken.

  Args:
    sample: the tensor.

  Returns:
    By name, a scalar or the histogram, to be given to `complete`.
  """
  measured = {name: row.measure(sample) for name, row in _TABLE.items()}
  return jax.tree.map(
    lambda x: x if x.dtype == jnp.int32 else x.astype(jnp.float32), measured
  )


def complete(
  measured: dict[str, jax.Array], multiplier: jax.Array | float
) -> Statistics:
  """The statistics of a tensor, given what the controller multiplies it by."""
  return Statistics(
    **{
      name: value * jnp.asarray(multiplier, value.dtype)
      if _TABLE[name].multiplied
      else value
      for name, value in measured.items()
    }
  )


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
  pooled = Pool(each, *_bounds(*bounds))
  return Statistics(
    **{
      name: row.pool(pooled, pooled.column(name))
      for name, row in _TABLE.items()
    }
  )


class PerLeaf(NamedTuple):
  """The statistics of every leaf, and the structure of the params.

  In the state, a tree like the params would pass for one of their copies, to be
  sharded or masked as they are. A named tuple is also what serializers know.
  """

  statistics: tuple[Statistics | None, ...]
  structure: Any  # The params with None for every leaf: it holds no array.

  def trees(self) -> dict[str, Any]:
    """By name, a tree like the params."""
    treedef = jax.tree.structure(self.structure, is_leaf=lambda x: x is None)
    return {
      name: jax.tree.unflatten(
        treedef,
        [
          None if each is None else _array(getattr(each, name))
          for each in self.statistics
        ],
      )
      for name in Statistics._fields
    }


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
  mode: Mode | None,
  flat: _trees.Flat,
  stacked_axes: Sequence[int],
  statistics: Sequence[Statistics | None],
  bounds: Sequence[Any],
) -> Any:
  """What the state holds after an update.

  Args:
    mode: 'global', 'per_leaf', or None for nothing.
    flat: the updates.
    stacked_axes: of each leaf.
    statistics: of each leaf; None of None and of empty leaves.
    bounds: α_min and α_max.

  Returns:
    A `Statistics` or a `PerLeaf`, or None.
  """
  if mode is None:
    return None
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
    return jnp.zeros([], jnp.float32)
  filled = [
    zeros(jnp.shape(leaf)[:axes]) if each is None and leaf is not None else each
    for leaf, axes, each in zip(
      flat.leaves, stacked_axes, statistics, strict=True
    )
  ]
  return PerLeaf(tuple(filled), flat.unflatten([None] * len(filled)))


def get_diagnostics(opt_state: _types.OptState) -> dict[str, Any]:
  """Returns what the last update did.

  It works on any state that holds a `NeuroplasticState`, such as that of
  `chain`, `masked` or `inject_hyperparams`, and on an `nnx.Optimizer`. It can
  be jitted.

  Args:
    opt_state: the state of an optimizer built with `diagnostics="global"` or
      `"per_leaf"`.

  Returns:
    A dict by name. With "global", each value is a float32 scalar over all
    elements of all leaves, except for the histogram. With "per_leaf", each
    value is a tree like the params; with stacked axes, its arrays have the
    sizes of those axes as leading shape. All values are zero before the first
    update. The names are

    - `alpha_mean`, `alpha_std`, `alpha_min`, `alpha_max`: statistics of α.
    - `alpha_median`: the median of α, computed from the histogram.
    - `alpha_fraction_near_min`, `alpha_fraction_near_max`: the fraction of
      elements whose α is beyond the bound, or within 5 % of the range of it.
    - `alpha_histogram`: int32 [64], counts of α in equal bins over
      [min_alpha, max_alpha]. Values outside are counted in the end bins.
    - `gradient_norm`, `parameter_norm`: ‖g‖ and ‖θ‖. The latter is NaN if the
      params were not passed.
    - `modulation_norm`: ‖u - b‖ before decay.
    - `raw_update_norm`: ‖u‖ before homeostasis.
    - `update_norm`: ‖u‖ as `neuroplastic` returns it, after homeostasis and the
      controller. It leaves out what comes after: the learning rate, its sign,
      and a decoupled weight decay, also those of `neuroplastic_optimizer`.
    - `controller_multiplier`: what the controller multiplied the update by;
      with "global", its mean over leaves.

  Raises:
    ValueError: the state holds no `NeuroplasticState`, or more than one, of
      which the message says how to reach each, or the diagnostics are off.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import get_diagnostics, neuroplastic_optimizer
    >>> tx = neuroplastic_optimizer(0.1, diagnostics='global')
    >>> params = jnp.array([1.0, 2.0, 3.0])
    >>> _, state = tx.update(2 * params, tx.init(params), params)
    >>> f'{get_diagnostics(state)["alpha_max"]:.2f}'
    '1.40'

    Where an optimizer holds several, pass the part of its state with the one
    that you want:

    >>> parts = {'body': tx, 'head': tx}
    >>> tx = optax.partition(parts, {'dense': 'body', 'out': 'head'})
    >>> state = tx.init({'dense': params, 'out': params})
    >>> head = get_diagnostics(state.inner_states['head'])
  """
  kept = _only_state(opt_state).diagnostics
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


def _only_state(opt_state: _types.OptState) -> NeuroplasticState:
  """The one state of ours within a state.

  Raises:
    ValueError: there is none, or more than one.
  """
  is_ours = lambda x: isinstance(x, NeuroplasticState)
  leaves = jax.tree.leaves_with_path(opt_state, is_leaf=is_ours)
  found = {jax.tree_util.keystr(path): x for path, x in leaves if is_ours(x)}
  if not found:
    raise ValueError(
      'opt_state must hold one NeuroplasticState, it holds 0: pass the state '
      'of an optimizer that has neuroplastic in it.'
    )
  if len(found) > 1:
    calls = [f'get_diagnostics(opt_state{path})' for path in found]
    raise ValueError(
      f'opt_state must hold one NeuroplasticState, it holds {len(found)}: pass '
      f'the one that you want, by {" or ".join(calls)}.'
    )
  (state,) = found.values()
  return state


def _array(value: Any) -> jax.Array:
  """The array in a leaf, which `nnx.Optimizer` wraps in a variable."""
  return jax.tree.leaves(value)[0]
