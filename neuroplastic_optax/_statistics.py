"""The statistics of one update, computed on the device.

`measure` makes them of one tensor, and `pool` makes one of those of several, as
if these were one tensor. The median is that of the histogram, and is computed
when it is asked for.
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
_OF_HISTOGRAM = ('alpha_median', 'alpha_histogram')
# What a state holds; last come the bounds of the histogram, α_min and α_max.
_NUMBERS = (*(x for x in NAMES if x not in _OF_HISTOGRAM), 'low', 'high')
_MULTIPLIED = np.isin(_NUMBERS, ('update_norm', 'controller_multiplier'))


class Statistics(NamedTuple):
  """In a state, the statistics of a tensor, or of several pooled.

  They are of one update. `get_diagnostics` gives them names. The numbers are
  one array, because XLA makes a kernel for each array: it would compile the
  update of hundreds of leaves for minutes.

  Attributes:
    numbers: float32 [14], with the sizes of stacked axes in front.
    histogram: of α, int32 [64], with the same in front.
  """

  numbers: jax.Array  # In the order of `_NUMBERS`.
  histogram: jax.Array

  @_broadcasting
  def named(self) -> dict[str, jax.Array]:
    """By name, as `get_diagnostics` returns them."""
    values = {name: self.numbers[..., i] for i, name in enumerate(_NUMBERS)}
    middle = median(self.histogram, values['low'], values['high'])
    # All α may lie on one side of the middle of a bin.
    values['alpha_median'] = jnp.clip(
      middle, values['alpha_min'], values['alpha_max']
    )
    values['alpha_histogram'] = self.histogram
    return {name: values[name] for name in NAMES}


@_broadcasting
def zeros(leaf: Any = 0.0, stacked_axes: int = 0) -> Statistics:
  """The statistics of a leaf before the first update, or if it is empty."""
  # Params may be kept in the memory of the host; statistics are not.
  if jax.typeof(leaf).memory_space != jax.memory.Space.Device:
    leaf = jax.device_put(leaf, jax.memory.Space.Device)
  # A sum, and not zeros of its shape: it is sharded as the stacked axes are,
  # where shardings are in the types.
  rest = tuple(range(stacked_axes, jnp.ndim(leaf)))
  zero = jnp.sum(jnp.zeros_like(leaf, jnp.float32), rest)[..., None]
  return Statistics(
    zero + jnp.zeros(len(_NUMBERS), jnp.float32),
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


@_broadcasting
def measure(
  tensor: modulations.Tensor,
  modulated: jax.Array,
  raw_update: jax.Array,
  factor: Any,
  low: _numbers.Scalar,
  high: _numbers.Scalar,
) -> Statistics:
  """What can be known of one tensor before the controller has spoken.

  Args:
    tensor: the tensor, as the rule sees it.
    modulated: the update of the rule.
    raw_update: u before homeostasis.
    factor: what homeostasis multiplies u by.
    low: α_min.
    high: α_max.
  """
  # Without derivatives: a minimum over devices has none.
  stop = functools.partial(jax.tree.map, jax.lax.stop_gradient)
  arrays = {x: stop(y) for x, y in vars(tensor).items() if x != '_sums'}
  tensor = dataclasses.replace(tensor, **arrays)
  modulated, raw_update, factor = stop((modulated, raw_update, factor))
  low, high = stop((low, high))
  sums, parameter = tensor._sums, tensor.parameter
  alpha = tensor.filled(tensor.alpha)
  mean, raw_norm = tensor.mean(alpha), tensor.norm(raw_update)
  near = 0.05 * (high - low)

  def fraction(where: jax.Array) -> jax.Array:
    return tensor.mean(where.astype(alpha.dtype))

  def constant(value: Any) -> jax.Array:
    # Under `vmap` over a sharded axis, and with shardings in the types, a
    # number that is the same for all slices could not be stacked with others.
    return jnp.where(raw_norm == raw_norm, value, value).astype(raw_norm.dtype)

  numbers = {
    'alpha_mean': mean,
    'alpha_std': jnp.sqrt(tensor.mean(jnp.square(alpha - mean))),
    'alpha_min': sums.min(alpha),
    'alpha_max': sums.max(alpha),
    'alpha_fraction_near_min': fraction(alpha <= low + near),
    'alpha_fraction_near_max': fraction(alpha >= high - near),
    'gradient_norm': tensor.norm(tensor.gradient),
    'parameter_norm': constant(jnp.nan)
    if parameter is None
    else tensor.norm(parameter),
    'modulation_norm': tensor.norm(modulated - tensor.base_update),
    'raw_update_norm': raw_norm,
    'update_norm': _stages.scaled(raw_norm, factor),
    'controller_multiplier': constant(1.0),
    'low': constant(low),
    'high': constant(high),
  }
  return Statistics(_stacked(numbers), histogram(alpha, low, high, sums))


def _stacked(numbers: dict[str, jax.Array]) -> jax.Array:
  return jnp.stack([numbers[name].astype(jnp.float32) for name in _NUMBERS])


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

  Those of a stacked tensor have a leading shape. The controller's multiplier is
  the mean over tensors (slices), all others are over elements.
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
  """The statistics of k entries together, each of so many tensors, [k]."""
  column = {name: each.numbers[:, i] for i, name in enumerate(_NUMBERS)}
  # float32, which cannot overflow.
  counts = each.histogram.astype(jnp.float32)
  sizes = jnp.sum(counts, axis=-1)
  weights = sizes / jnp.sum(sizes)

  def mean(values: jax.Array) -> jax.Array:
    return jnp.sum(weights * values)

  deviations = column['alpha_mean'] - mean(column['alpha_mean'])
  means = ('alpha_mean', 'alpha_fraction_near_min', 'alpha_fraction_near_max')
  numbers = {
    **{name: mean(column[name]) for name in means},
    'alpha_std': jnp.sqrt(mean(column['alpha_std'] ** 2 + deviations**2)),
    **{name: jnp.min(column[name]) for name in ('alpha_min', 'low')},
    **{name: jnp.max(column[name]) for name in ('alpha_max', 'high')},
    **{x: _norm(norms) for x, norms in column.items() if x.endswith('_norm')},
    'controller_multiplier': jnp.sum(
      column['controller_multiplier'] * (tensors / jnp.sum(tensors))
    ),
  }
  total = jnp.sum(each.histogram, axis=0, dtype=jnp.int32)
  # A count beyond the largest int32 becomes that. float32 has 24 bits: near the
  # end of int32's range it is too coarse.
  largest = jnp.iinfo(jnp.int32).max
  full = jnp.sum(counts, axis=0) > 0.999 * largest
  return Statistics(_stacked(numbers), jnp.where(full, largest, total))


def _norm(norms: jax.Array) -> jax.Array:
  """The norm of all tensors together, where squares might overflow."""
  largest = jnp.max(norms)
  # An infinite norm may be that of finite elements; ∞/∞ would be NaN.
  scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1.0)
  return scale * jnp.sqrt(jnp.sum((norms / scale) ** 2))
