"""Diagnostics: what the last update did, computed on the device.

`_TABLE` says of every number how it is measured of one tensor and how it is
pooled over the elements of several tensors. The median is that of the
histogram, and is computed when it is asked for.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _stages
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax import modulations
from neuroplastic_optax._state import NeuroplasticState

BINS = 64
MODES = ('global', 'per_leaf')
Mode = Literal['global', 'per_leaf']


# What `get_diagnostics` returns, in this order.
NAMES = (
  'alpha_mean',
  'alpha_std',
  'alpha_median',
  'alpha_min',
  'alpha_max',
  'alpha_fraction_near_min',
  'alpha_fraction_near_max',
  'alpha_histogram',
  'gradient_norm',
  'parameter_norm',
  'modulation_norm',
  'raw_update_norm',
  'update_norm',
  'controller_multiplier',
)


class Statistics(NamedTuple):
  """The statistics of one tensor, or of several pooled, at one update.

  With stacked axes, both have the sizes of those axes as leading shape. The
  numbers are one array, because XLA makes a kernel for each array: it would
  compile the update of hundreds of leaves for minutes.
  """

  numbers: jax.Array  # float32 [len(_TABLE)], in the order of `_TABLE`.
  histogram: jax.Array  # int32 [BINS]

  def named(self) -> dict[str, jax.Array]:
    """By name, as `get_diagnostics` returns them."""
    values = {name: self.numbers[..., i] for i, name in enumerate(_TABLE)}
    low, high = values['low'], values['high']
    values['alpha_median'] = median(self.histogram, low, high)
    values['alpha_histogram'] = self.histogram
    return {name: values[name] for name in NAMES}


def zeros(leaf: Any = 0.0, stacked_axes: int = 0) -> Statistics:
  """The statistics of a leaf before the first update, or if it is empty."""
  # A sum, and not zeros of its shape: it is sharded as the stacked axes are,
  # where shardings are in the types.
  rest = tuple(range(stacked_axes, jnp.ndim(leaf)))
  zero = jnp.sum(jnp.zeros_like(leaf, jnp.float32), rest)[..., None]
  return Statistics(
    zero + jnp.zeros(len(_TABLE), jnp.float32),
    zero.astype(jnp.int32) + jnp.zeros(BINS, jnp.int32),
  )


def histogram(
  alpha: jax.Array,
  low: _numbers.Scalar,
  high: _numbers.Scalar,
  sums: _arrays.Sums,
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
  return sums.total(count(index))


def _count(index: jax.Array) -> jax.Array:
  return jax.lax.platform_dependent(
    index, cpu=_count_by_scattering, default=_count_by_comparing
  )


def _count_by_scattering(index: jax.Array) -> jax.Array:
  return jnp.zeros(BINS, jnp.int32).at[index].add(1)


def _count_by_comparing(index: jax.Array) -> jax.Array:
  """Where a scatter would go one element at a time, or elements wait in line.

  GPUs add to one bin in turn, and most α may be in one.
  """
  axes = tuple(range(index.ndim))
  return jnp.sum(
    index[..., None] == jnp.arange(BINS, dtype=jnp.int32),
    axis=axes,
    dtype=jnp.int32,
  )


def median(counts: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """The medians of histograms [..., BINS], linear within their bins."""
  # Not by a search and an index: neither can be batched over a sharded axis
  # where shardings are in the types.
  bins = jnp.arange(BINS, dtype=jnp.float32)
  counts = counts.astype(jnp.float32)
  half = jnp.sum(counts, axis=-1, keepdims=True) / 2
  before = jnp.sum(
    jnp.cumsum(counts, axis=-1) < half,
    axis=-1,
    keepdims=True,
    dtype=jnp.float32,
  )
  b = jnp.minimum(before, BINS - 1)
  below = jnp.sum(jnp.where(bins < b, counts, 0.0), axis=-1)
  inside = jnp.sum(jnp.where(bins == b, counts, 0.0), axis=-1)
  fraction = (half[..., 0] - below) / jnp.maximum(inside, 1)
  return low + (high - low) * (b[..., 0] + fraction) / BINS


@dataclasses.dataclass(frozen=True)
class Sample:
  """One tensor at one update, of which statistics are measured.

  Attributes:
    tensor: the tensor, as the rule sees it.
    modulated: the update of the rule.
    raw_update: u before homeostasis.
    factor: what homeostasis multiplies u by.
    low: α_min.
    high: α_max.
  """

  tensor: modulations.Tensor
  modulated: jax.Array
  raw_update: jax.Array
  factor: Any
  low: _numbers.Scalar
  high: _numbers.Scalar

  def detached(self) -> 'Sample':
    """The same without derivatives: a minimum over devices has none."""
    stop = functools.partial(jax.tree.map, jax.lax.stop_gradient)
    arrays = {
      field.name: stop(getattr(self.tensor, field.name))
      for field in dataclasses.fields(self.tensor)
      if field.name != '_sums'
    }
    return Sample(
      dataclasses.replace(self.tensor, **arrays),
      *map(stop, (self.modulated, self.raw_update, self.factor)),
      *map(stop, (self.low, self.high)),
    )

  @functools.cached_property
  def alpha(self) -> jax.Array:
    return self.tensor.filled(self.tensor.alpha)

  @functools.cached_property
  def alpha_mean(self) -> jax.Array:
    return self.tensor.mean(self.alpha)

  @functools.cached_property
  def counts(self) -> jax.Array:
    return histogram(self.alpha, self.low, self.high, self.tensor._sums)

  @functools.cached_property
  def raw_norm(self) -> jax.Array:
    return self.tensor.norm(self.raw_update)

  @property
  def near(self) -> _numbers.Scalar:
    """The distance from a bound within which α counts as near it."""
    return 0.05 * (self.high - self.low)

  def alpha_std(self) -> jax.Array:
    return jnp.sqrt(self.tensor.mean(jnp.square(self.alpha - self.alpha_mean)))

  def fraction(self, where: jax.Array) -> jax.Array:
    return self.tensor.mean(where.astype(self.alpha.dtype))

  def constant(self, value: Any) -> jax.Array:
    """A number that does not depend on the tensor, with a place of its own.

    Under `vmap` over a sharded axis, and with shardings in the types, a number
    that is the same for all slices could not be stacked with others.
    """
    norm = self.raw_norm
    return jnp.where(norm == norm, value, value).astype(norm.dtype)

  def parameter_norm(self) -> jax.Array:
    if self.tensor.parameter is None:
      return self.constant(jnp.nan)
    return self.tensor.norm(self.tensor.parameter)


@dataclasses.dataclass(frozen=True)
class Pool:
  """Statistics of several tensors, to be pooled over their elements.

  Its methods take the values of one statistic, an array [k].

  Attributes:
    each: the statistics of k entries: numbers [k, …] and histograms [k, BINS].
    tensors: of how many tensors each entry is, [k].
  """

  each: Statistics
  tensors: jax.Array

  @functools.cached_property
  def weights(self) -> jax.Array:
    """The share of each entry in the number of elements."""
    # float32, which cannot overflow.
    sizes = jnp.sum(self.each.histogram.astype(jnp.float32), axis=-1)
    return sizes / jnp.sum(sizes)

  @functools.cached_property
  def alpha_mean(self) -> jax.Array:
    return self.mean(self.column('alpha_mean'))

  def column(self, name: str) -> jax.Array:
    return self.each.numbers[:, list(_TABLE).index(name)]

  def histogram(self) -> jax.Array:
    """The histogram of all; a count beyond the largest int32 becomes that."""
    each = self.each.histogram
    counts = jnp.sum(each, axis=0, dtype=jnp.int32)
    wide = jnp.sum(each.astype(jnp.float32), axis=0)
    largest = jnp.iinfo(jnp.int32).max
    # float32 has 24 bits: near the end of int32's range it is too coarse.
    return jnp.where(wide > 0.999 * largest, largest, counts)

  def mean(self, means: jax.Array) -> jax.Array:
    return jnp.sum(self.weights * means)

  def std(self, stds: jax.Array) -> jax.Array:
    deviations = self.column('alpha_mean') - self.alpha_mean
    return jnp.sqrt(self.mean(stds**2 + deviations**2))

  def min(self, values: jax.Array) -> jax.Array:
    return jnp.min(values)

  def max(self, values: jax.Array) -> jax.Array:
    return jnp.max(values)

  def norm(self, norms: jax.Array) -> jax.Array:
    """The norm of all tensors together, where squares might overflow."""
    largest = jnp.max(norms)
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.sqrt(jnp.sum((norms / scale) ** 2))

  def mean_over_tensors(self, values: jax.Array) -> jax.Array:
    return jnp.sum(values * (self.tensors / jnp.sum(self.tensors)))


class _Row(NamedTuple):
  """How one number is made.

  Attributes:
    measure: takes a sample, before the controller multiplies its update.
    pool: takes a pool and the values of the number in it.
    multiplied: whether the controller's multiplier multiplies what is measured.
  """

  measure: Callable[[Sample], jax.Array]
  pool: Callable[[Pool, jax.Array], jax.Array]
  multiplied: bool = False


_TABLE = {
  'alpha_mean': _Row(lambda s: s.alpha_mean, Pool.mean),
  'alpha_std': _Row(Sample.alpha_std, Pool.std),
  'alpha_min': _Row(lambda s: s.tensor._sums.min(s.alpha), Pool.min),
  'alpha_max': _Row(lambda s: s.tensor._sums.max(s.alpha), Pool.max),
  'alpha_fraction_near_min': _Row(
    lambda s: s.fraction(s.alpha <= s.low + s.near), Pool.mean
  ),
  'alpha_fraction_near_max': _Row(
    lambda s: s.fraction(s.alpha >= s.high - s.near), Pool.mean
  ),
  'gradient_norm': _Row(lambda s: s.tensor.norm(s.tensor.gradient), Pool.norm),
  'parameter_norm': _Row(Sample.parameter_norm, Pool.norm),
  'modulation_norm': _Row(
    lambda s: s.tensor.norm(s.modulated - s.tensor.base_update), Pool.norm
  ),
  'raw_update_norm': _Row(lambda s: s.raw_norm, Pool.norm),
  'update_norm': _Row(
    lambda s: _stages.scaled(s.raw_norm, s.factor),
    Pool.norm,
    multiplied=True,
  ),
  'controller_multiplier': _Row(
    lambda s: s.constant(1.0),
    Pool.mean_over_tensors,
    multiplied=True,
  ),
  # The bounds of the histogram: α_min and α_max.
  'low': _Row(lambda s: s.constant(s.low), Pool.min),
  'high': _Row(lambda s: s.constant(s.high), Pool.max),
}
_MULTIPLIED = np.array([row.multiplied for row in _TABLE.values()])


def measure(sample: Sample) -> Statistics:
  """What can be known of one tensor before the controller has spoken."""
  sample = sample.detached()
  numbers = [row.measure(sample) for row in _TABLE.values()]
  return Statistics(
    jnp.stack([x.astype(jnp.float32) for x in numbers]),
    sample.counts,
  )


def _complete(
  measured: Statistics | None, multiplier: jax.Array | None
) -> Statistics | None:
  """The statistics of a tensor, given what the controller multiplies it by."""
  if measured is None or multiplier is None:
    return measured
  numbers = measured.numbers
  multiplied = numbers * multiplier.astype(jnp.float32)
  return measured._replace(numbers=jnp.where(_MULTIPLIED, multiplied, numbers))


def pool(each: Sequence[Statistics]) -> Statistics:
  """The statistics of all elements of several tensors together.

  Args:
    each: of every tensor; those of a stacked one have a leading shape.

  Returns:
    Numbers and a histogram. The controller's multiplier is the mean over
    tensors (slices), all others are over elements.
  """
  if not each:
    return zeros()
  tensors = [math.prod(x.numbers.shape[:-1]) for x in each]
  columns = zip(*map(_over_slices, each), strict=True)
  # Without the barrier, XLA would compile what led to every leaf's numbers into
  # each reduction over the leaves: its time would grow with their square.
  stacked = jax.lax.optimization_barrier([jnp.stack(x) for x in columns])
  return _pooled(Statistics(*stacked), jnp.asarray(tensors, jnp.float32))


def _over_slices(each: Statistics) -> Statistics:
  """The statistics of all slices of one leaf together.

  Each leaf is reduced by itself: what is sharded differently cannot be
  concatenated where shardings are part of the types.
  """
  axes = each.numbers.ndim - 1
  for axis in reversed(range(axes)):
    ones = jnp.ones(each.numbers.shape[axis], jnp.float32)
    pooled = functools.partial(_pooled, tensors=ones)
    each = _trees.over_slices(pooled, axis)(each)
  return each


def _pooled(each: Statistics, tensors: jax.Array) -> Statistics:
  together = Pool(each, tensors)
  numbers = [
    row.pool(together, together.column(name)) for name, row in _TABLE.items()
  ]
  return Statistics(jnp.stack(numbers), together.histogram())


class PerLeaf(NamedTuple):
  """The statistics of every leaf, and the structure of the params.

  In the state, a tree like the params would pass for one of their copies, to be
  sharded or masked as they are. A named tuple is also what serializers know.
  """

  statistics: tuple[Statistics | None, ...]
  structure: Any  # The params with None for every leaf: it holds no array.

  def trees(self) -> dict[str, Any]:
    """By name, a tree like the params."""
    named = [
      None if x is None else _arrays_of(x).named() for x in self.statistics
    ]
    return {
      name: _like(
        self.structure, [None if x is None else x[name] for x in named]
      )
      for name in NAMES
    }


def _like(tree: Any, leaves: Sequence[Any]) -> Any:
  """A tree of the structure of `tree`, in which None counts as a leaf.

  A node of a user's may check the shapes of its leaves, and refuse others. A
  dictionary by path then stands for the tree.
  """
  paths, treedef = jax.tree.flatten_with_path(tree, is_leaf=lambda x: x is None)
  try:
    return jax.tree.unflatten(treedef, leaves)
  except Exception:
    names = [_name(path) for path, _ in paths]
    return dict(zip(names, leaves, strict=True))


def _name(path: Any) -> str:
  """The path of a leaf, as `layer/kernel`."""
  # An NNX variable appends `.value`.
  if path and path[-1] == jax.tree_util.GetAttrKey('value'):
    path = path[:-1]
  return jax.tree_util.keystr(path, simple=True, separator='/')


def collect(
  mode: Mode,
  flat: _trees.Flat,
  stacked_axes: Sequence[int],
  measured: Sequence[Statistics | None],
  multipliers: Sequence[jax.Array | None],
) -> Any:
  """What the state holds after an update.

  Args:
    mode: 'global' or 'per_leaf'.
    flat: the updates.
    stacked_axes: of each leaf.
    measured: what `measure` returned for each leaf; None of None and of empty
      leaves, and of all before the first update.
    multipliers: what the controller multiplies each leaf by; None for 1.

  Returns:
    A `Statistics` or a `PerLeaf`.
  """
  statistics = list(map(_complete, measured, multipliers))
  if mode == 'global':
    return pool([leaf for leaf in statistics if leaf is not None])
  if not flat.leaves:
    # One leaf: so `optax.tree.map_params`, which has a placeholder for the
    # params, finds no structure that it could miss in the true state.
    return jnp.zeros([], jnp.float32)
  filled = [
    zeros(leaf, axes) if found is None and leaf is not None else found
    for leaf, axes, found in zip(
      flat.leaves, stacked_axes, statistics, strict=True
    )
  ]
  return PerLeaf(tuple(filled), _like(flat.tree, [None] * len(filled)))


def get_diagnostics(
  opt_state: _types.OptState, *, flat: bool = False
) -> dict[str, Any]:
  """Returns what the last update did.

  It works on any state that holds a `NeuroplasticState`, such as that of
  `chain`, `masked` or `inject_hyperparams`, and on an `nnx.Optimizer`. It can
  be jitted.

  Statistics of some updates only cost less: build the optimizer twice, with
  diagnostics and without, and initialise with the one that has them. Each
  accepts the other's state. Without diagnostics, the old ones are passed on;
  with them, they are made anew. See the second example.

  Args:
    opt_state: the state of an optimizer built with `diagnostics="global"` or
      `"per_leaf"`.
    flat: whether to return one dictionary of scalars, for loggers.

  Returns:
    A dict by name, where `flat` is False. With "global", each value is a
    float32 scalar over all elements of all leaves, except for the histogram.
    With "per_leaf", each value is a tree like the params, or a dictionary by
    path where a node of the params takes no scalars; with stacked axes, its
    arrays have the sizes of those axes as leading shape. All values are zero
    before the first update. The names are

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

    With `flat`, the names are `alpha_mean` and so on with "global", and
    `layer/kernel/alpha_mean` with "per_leaf". A leaf with stacked axes has a
    name for each slice, such as `blocks/kernel/3/alpha_mean`. The histogram is
    left out.

  Raises:
    TypeError: `flat` is not a bool.
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

    Statistics of every tenth update:

    >>> plain = neuroplastic_optimizer(0.1)
    >>> state = tx.init(params)
    >>> for step in range(20):
    ...   update = tx.update if step % 10 == 0 else plain.update
    ...   updates, state = update(2 * params, state, params)
    >>> scalars = get_diagnostics(state, flat=True)

    Where an optimizer holds several, pass the part of its state with the one
    that you want:

    >>> parts = {'body': tx, 'head': tx}
    >>> tx = optax.partition(parts, {'dense': 'body', 'out': 'head'})
    >>> state = tx.init({'dense': params, 'out': params})
    >>> head = get_diagnostics(state.inner_states['head'])
  """
  _numbers.check_switch('flat', flat)
  kept = _only_state(opt_state).diagnostics
  if kept is None:
    raise ValueError(
      'the diagnostics of this optimizer are off: build it with '
      'diagnostics="global" or diagnostics="per_leaf".'
    )
  found: dict[str, Any] = {name: {} for name in NAMES}  # No leaves.
  if isinstance(kept, PerLeaf):
    found = kept.trees()
  elif isinstance(kept, Statistics):
    found = _arrays_of(kept).named()
  return _scalars(found) if flat else found


def _scalars(found: dict[str, Any]) -> dict[str, jax.Array]:
  """The statistics in one dictionary of scalars."""
  return {
    '/'.join(filter(None, [_name(path), *map(str, index), name])): x[index]
    for name in NAMES
    if name != 'alpha_histogram'
    for path, x in jax.tree.leaves_with_path(found[name])
    for index in np.ndindex(jnp.shape(x))
  }


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


def _arrays_of(kept: Statistics) -> Statistics:
  """The arrays themselves, which `nnx.Optimizer` wraps in variables."""
  return Statistics(*jax.tree.leaves(kept))
