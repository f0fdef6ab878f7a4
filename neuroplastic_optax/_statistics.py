"""The statistics of one update, computed on the device.

`_TABLE` says of every number how it is measured of one tensor and how it is
pooled over the elements of several tensors. The median is that of the
histogram, and is computed when it is asked for.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _stages
from neuroplastic_optax import _trees
from neuroplastic_optax import modulations

BINS = 64

_F = TypeVar('_F', bound=Callable[..., Any])


def _broadcasting(function: _F) -> _F:
  """Lets a function broadcast where `jax_numpy_rank_promotion` forbids it."""

  @functools.wraps(function)
  def wrapper(*args: Any) -> Any:
    with jax.numpy_rank_promotion('allow'):
      return function(*args)

  return wrapper  # type: ignore[return-value]


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

  @_broadcasting
  def named(self) -> dict[str, jax.Array]:
    """By name, as `get_diagnostics` returns them."""
    values = {name: self.numbers[..., i] for i, name in enumerate(_TABLE)}
    low, high = values['low'], values['high']
    values['alpha_median'] = median(self.histogram, low, high)
    values['alpha_histogram'] = self.histogram
    return {name: values[name] for name in NAMES}


@_broadcasting
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
  kinds = jax.typeof(index).sharding.mesh.axis_types
  count = _count
  if jax.sharding.AxisType.Explicit in kinds:
    # A scatter of what is sharded is refused where shardings are in the types.
    count = _count_by_comparing
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
    # An infinite norm may be that of finite elements; ∞/∞ would be NaN.
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1.0)
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


@_broadcasting
def measure(sample: Sample) -> Statistics:
  """What can be known of one tensor before the controller has spoken."""
  sample = sample.detached()
  numbers = [row.measure(sample) for row in _TABLE.values()]
  return Statistics(
    jnp.stack([x.astype(jnp.float32) for x in numbers]),
    sample.counts,
  )


@_broadcasting
def complete(
  measured: Statistics | None, multiplier: jax.Array | None
) -> Statistics | None:
  """The statistics of a tensor, given what the controller multiplies it by."""
  if measured is None or multiplier is None:
    return measured
  numbers = measured.numbers
  multiplied = numbers * multiplier.astype(jnp.float32)
  return measured._replace(numbers=jnp.where(_MULTIPLIED, multiplied, numbers))


@_broadcasting
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
