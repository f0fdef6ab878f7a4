"""Arrays: their dtypes, sums over tensors, and safe derivatives.

Arithmetic is in at least float32; what is stored keeps its own dtype. Casts are
explicit, so that everything works under `jax.numpy_dtype_promotion('strict')`.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

# Dtypes.


def promoted(*dtypes: Any) -> Any:
  """The dtype that can hold all of these, also where promotion is strict."""
  with jax.numpy_dtype_promotion('standard'):
    return jnp.result_type(*map(at_least_16_bits, dtypes))


def at_least_16_bits(dtype: Any) -> Any:
  """The dtype; float32 for float8 and float4, which JAX does not promote."""
  dtype = jnp.result_type(dtype)
  narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 16
  return jnp.dtype('float32') if narrow else dtype


def times(factor: Any, x: jax.Array) -> jax.Array:
  """factor·x, where x may be complex and the factor real."""
  if isinstance(factor, jax.Array):
    factor = factor.astype(x.dtype)
  return factor * x


def real_dtype(dtype: Any) -> Any:
  """The dtype of |x|: the real part's of a complex one, else the same."""
  return jnp.finfo(dtype).dtype


def compute_dtype(tree: Any) -> Any:
  """The real dtype to compute in: the widest of the leaves', ≥ float32."""
  dtypes = [real_dtype(jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]
  return promoted(jnp.float32, *dtypes)


def upcast(tree: Any, dtype: Any) -> Any:
  """The tree in real dtype `dtype`, complex leaves in its complex twin."""

  def cast(x: jax.Array) -> jax.Array:
    complex_ = jnp.iscomplexobj(x)
    return jnp.asarray(x).astype(
      promoted(dtype, jnp.complex64) if complex_ else dtype
    )

  return jax.tree.map(cast, tree)


def downcast(x: jax.Array, like: jax.Array) -> jax.Array:
  """`x` in the dtype, and of the weak type, of `like`.

  A finite number too large for that dtype becomes its largest, not infinite.
  """
  low, bound = x, float(jnp.finfo(like.dtype).max)
  if bound < jnp.finfo(x.dtype).max:
    if jnp.iscomplexobj(x):
      low = jax.lax.complex(_within(x.real, bound), _within(x.imag, bound))
    else:
      low = _within(x, bound)
  low = low.astype(like.dtype)
  if jax.typeof(like).weak_type:
    # The only public operation that gives a weak type back: scattering into
    # a weakly typed array.
    low = jnp.zeros_like(like).at[...].set(low)
  return low


def _within(x: jax.Array, bound: float) -> jax.Array:
  """Finite numbers clipped to ±bound."""
  return jnp.where(jnp.isfinite(x), jnp.clip(x, -bound, bound), x)


# Where shardings are in the types: there operations such as an index along a
# sharded axis, or a choice between arrays that lie differently, are refused.


def replicated(x: jax.Array) -> jax.Array:
  """The array on all devices, where shardings are in the types."""
  sharding = jax.typeof(x).sharding
  return _resharded(x, sharding.update(spec=jax.P()))


def placed_like(x: jax.Array, like: jax.Array) -> jax.Array:
  """The array, of the shape of `like`, as that lies."""
  return _resharded(x, jax.typeof(like).sharding)


def _resharded(x: jax.Array, sharding: Any) -> jax.Array:
  if jax.sharding.AxisType.Explicit not in sharding.mesh.axis_types:
    return x
  return jax.sharding.reshard(x, sharding)


# Sums over all elements of a tensor, wherever they are.


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums over a whole tensor.

  Attributes:
    axis_name: the mesh axes over which it is split inside `shard_map`; None
      where an array holds all of it, as under `jit`, however it is sharded.
    scale: a power of two near the elements' magnitude, by which they are
      divided before they are squared.
  """

  axis_name: tuple[str, ...] | None = None
  scale: Any = 1.0

  def sum(self, x: jax.Array) -> jax.Array:
    """Σ x, a scalar of x's dtype."""
    # `jnp.sum` over all axes: a `ravel` first would gather a sharded array.
    return self.total(jnp.sum(x))

  def total(self, part: jax.Array) -> jax.Array:
    """The sum over all devices of their parts."""
    return _over_devices(jax.lax.psum, part, self.axis_name)

  def min(self, x: jax.Array) -> jax.Array:
    """The smallest element, a scalar."""
    return _over_devices(jax.lax.pmin, jnp.min(x), self.axis_name)

  def max(self, x: jax.Array) -> jax.Array:
    """The largest element, a scalar."""
    return _over_devices(jax.lax.pmax, jnp.max(x), self.axis_name)

  def size(self, x: jax.Array) -> float | jax.Array:
    """The number of elements of the whole tensor, as `count` gives it."""
    if self.axis_name is None:
      return count(x)
    return count(x) * jax.lax.axis_size(self.axis_name)

  def mean(self, x: jax.Array) -> jax.Array:
    """Σ x / n, a scalar of x's dtype."""
    return self.sum(x) / self.size(x)

  def dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The real part of Σ x̄ y, a real scalar."""
    return self.total(_dot(x, y))

  def scaled_dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The real part of Σ x̄ y / scale²."""
    return self.dot(self._scaled(x), self._scaled(y))

  def norm(self, x: jax.Array) -> jax.Array:
    """√Σ|x|², a real scalar; its derivative is 0 where it is 0 or infinite."""
    return _norm(self.axis_name, self._scaled(x)) * self.scale

  def _scaled(self, x: jax.Array) -> jax.Array:
    return times(1 / self.scale, x)


def _over_devices(collective: Any, part: jax.Array, axis_name: Any) -> Any:
  return part if axis_name is None else collective(part, axis_name)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
  products = x.real * y.real
  if jnp.iscomplexobj(x) or jnp.iscomplexobj(y):
    products += x.imag * y.imag
  return jnp.sum(products)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _norm(axis_name: Any, x: jax.Array) -> jax.Array:
  return jnp.sqrt(_over_devices(jax.lax.psum, _dot(x, x), axis_name))


@_norm.defjvp
def _norm_jvp(
  axis_name: Any,
  primals: tuple[jax.Array],
  tangents: tuple[jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """⟨x, dx⟩ / ‖x‖."""
  (x,), (dx,) = primals, tangents
  norm = _norm(axis_name, x)
  inside = (norm > 0) & (norm < jnp.inf)
  unit = jnp.where(inside, x, 0.0) / jnp.where(inside, norm, 1.0)
  return norm, _over_devices(jax.lax.psum, _dot(unit, dx), axis_name)


def count(x: jax.Array) -> float | jax.Array:
  """The number of elements of an array.

  It is a float, since JAX takes no Python integer beyond int32. It is a scalar
  array of x's real dtype where `jax.export` has a symbolic dimension.
  """
  if all(isinstance(n, int) for n in x.shape):
    return float(x.size)
  return math.prod(jnp.asarray(n).astype(x.real.dtype) for n in x.shape)


def one_like(x: jax.Array) -> jax.Array:
  """1 of the dtype of a scalar, and where it lies.

  `jnp.ones_like` refuses a scalar of a mesh with Explicit axes where no mesh is
  set. A number that is the same for all slices could not be stacked under
  `vmap` over a sharded axis.
  """
  return jnp.where(x == x, 1.0, 1.0).astype(x.dtype)


def norm_scale(magnitude: jax.Array) -> jax.Array:
  """A power of two by which to divide before squaring, for norms.

  In float32 the square of 1e30 overflows and that of 1e-30 vanishes. Divided by
  it, the squares of all from 1e-30 to 1e30 that go with gradients of a mean
  magnitude (a scalar, which may be 0 or infinite) are representable, and so are
  those of parameters or of updates that do not depend on it.
  """
  within = jnp.clip(magnitude, 2.0**-40, 2.0**50)
  exponent_bits = jnp.finfo(within.dtype).nexp
  # The scale cancels in whatever it is used for, and has no derivative.
  return jax.lax.stop_gradient(
    jax.lax.reduce_precision(within, exponent_bits, mantissa_bits=0)
  )


# Operations whose derivatives are finite wherever their values are. A gradient
# of exactly 0 is common: zero-initialised gates, LoRA at its first step, dead
# units. There √x has an infinite slope, and 1/y² overflows for a small y; 0·∞
# then makes NaN of the derivative by every hyperparameter. The values are those
# of the plain operations, to the last bit. `jax.custom_jvp` takes a millisecond
# to trace, on every leaf: it is used where plain operations do not do.


@jax.custom_jvp
def divide(x: jax.Array, y: jax.Array) -> jax.Array:
  """x / y of real arrays, for a y whose square may overflow or vanish."""
  return x / y


@divide.defjvp
def _divide_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  (x, y), (dx, dy) = primals, tangents
  ratio = divide(x, y)
  finite = jnp.where(jnp.isfinite(ratio), ratio, 0.0)
  return ratio, divide(dx - finite * dy, y)


@jax.custom_jvp
def log_ratio(x: jax.Array, y: jax.Array) -> jax.Array:
  """log(x / y) of positive arrays; 0, and constant, where it is not finite."""
  # Not a choice of the ratio: XLA on CPUs would write it to memory. On GPUs a
  # number divided by itself may not be 1.
  logs = jnp.log(x / y)
  return jnp.where(jnp.isfinite(logs) & (x != y), logs, 0.0)


@log_ratio.defjvp
def _log_ratio_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  (x, y), (dx, dy) = primals, tangents
  usual = jnp.isfinite(jnp.log(x / y))
  # Chosen before they are divided: what is not finite must not get in.
  x, y, dx, dy = (
    jnp.where(usual, value, default)
    for value, default in ((x, 1.0), (y, 1.0), (dx, 0.0), (dy, 0.0))
  )
  return log_ratio(*primals), divide(dx, x) - divide(dy, y)


@jax.custom_jvp
def unless_zero(scale: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
  """y where the scale is 0, else x; with the derivative of x throughout.

  It is for an x that equals y at scale 0 but for the sign of a zero or for
  0·∞. Chosen by `where`, it would not depend on the scale there.
  """
  return jnp.where(scale == 0, y, x)


@unless_zero.defjvp
def _unless_zero_jvp(
  primals: tuple[jax.Array, jax.Array, jax.Array],
  tangents: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  return unless_zero(*primals), tangents[1]
