"""What mechanisms share: one function for every leaf, and its arithmetic."""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees


@dataclasses.dataclass(frozen=True)
class Leaves:
  """The leaves of the updates (at `init`, the params), None among them.

  `params` is None for a mechanism that does not read them.
  """

  updates: _trees.Flat
  params: _trees.Flat | None = None

  def __len__(self) -> int:
    return len(self.updates.leaves)

  @property
  def like(self) -> _trees.Flat:
    """The params, or the updates in their place."""
    return self.updates if self.params is None else self.params

  def tree(self, leaves: Sequence[Any]) -> Any:
    """A tree like the updates, of these leaves."""
    return self.updates.unflatten(leaves)

  def align(self, tree: Any, name: str = 'the state') -> list[Any]:
    """The parts of a tree, or of a state, where the updates have leaves."""
    return self.updates.align(name, tree)

  def each(self, function: Callable[..., Any], *columns: Any) -> list[Any]:
    """`function(leaf, *row)` of every leaf of the params; None for None."""
    return [
      None if leaf is None else function(leaf, *row)
      for leaf, *row in zip(self.like.leaves, *columns, strict=True)
    ]

  def zeros(self) -> Any:
    """A tree of zeros like the params, of at least float32."""
    return self.tree(
      self.each(lambda x: jnp.zeros_like(x, dtype=wide_dtype(x)))
    )

  def copies(self) -> Any:
    """A tree of copies of the params, of at least float32.

    They have buffers of their own, so that params and state can be donated.
    """
    return self.tree(self.each(copied))

  def per_leaf(self, values: Sequence[Any]) -> Any:
    """The form in a state of values that do not have the shape of a leaf.

    It is a tuple: Optax would take a tree like the params for copies of them,
    to be sharded or reset as they are. Where there are no leaves, it is one
    number: `optax.tree.map_params`, which has a placeholder for the params,
    then finds no structure that it could miss in the true state.
    """
    return tuple(values) if values else jnp.zeros([], jnp.float32)

  def of_leaves(self, values: Any) -> list[Any]:
    """The values that `per_leaf` made a tuple of."""
    return list(values) if self.updates.leaves else []

  def mask(self, mask: Any) -> list[bool]:
    """Which leaves a mask takes; None for all."""
    return _trees.mask('mask', mask, self.like)

  def kernels(self, mask: Any, stacked: Sequence[int]) -> list[bool]:
    """Which leaves a mask takes; None for those of rank 2 and more."""
    if mask is not None:
      return self.mask(mask)
    return [
      leaf is not None and jnp.ndim(leaf) - n > 1
      for leaf, n in zip(self.like.leaves, stacked, strict=True)
    ]

  def shrink_floors(self) -> list[float | None]:
    """The factors ≥ -1 by which a step may shrink a weight, and not to 0.

    -w is the nearest number of low precision to most of -w·(1 - exp(-10)).
    """
    return [
      None if g is None else float(jnp.finfo(jnp.result_type(g)).eps) - 1.0
      for g in self.updates.leaves
    ]

  def stacked(self, stacked_axes: Any = None) -> list[int]:
    """How many leading axes of each leaf are stacked."""
    return _trees.stacked(stacked_axes, self.like)

  def map(
    self,
    step: Callable[..., Any],
    numbers: _numbers.Numbers | None = None,
    *,
    reads: Sequence[Any] = (),
    keeps: Sequence[Any] = (),
    keeps_by_leaf: Sequence[Sequence[Any]] = (),
    extras: Sequence[Sequence[Any]] = (),
    inside: Sequence[bool] | None = None,
  ) -> tuple[Any, list[Any]]:
    """Makes the update of every leaf, and what the state keeps of it.

    Arithmetic is in at least float32; what comes out has the dtype of what went
    in. Finite numbers that no longer fit in it become its largest.

    Args:
      step: `step(numbers, g, w, *reads, *keeps, *extras)` of one leaf, without
        w where there are no params; `keeps_by_leaf` are behind `keeps`. It
        returns the update and, behind it, the new values of both, if there are
        any.
      numbers: the hyperparameters at this update; None for none.
      reads: trees of arrays like the updates.
      keeps: such trees, which the state holds.
      keeps_by_leaf: lists of arrays that need not have the shape of the leaf,
        which the state holds. They are returned as lists: a tree like the
        updates may have nodes that refuse other shapes.
      extras: lists of anything, with a value for every leaf.
      inside: which leaves to work on; None for all. The others, and those that
        are None or empty, are left alone.
    """
    columns = [self.align(tree) for tree in (*reads, *keeps)]
    if self.params is not None:
      columns.insert(0, self.params.leaves)
    first_kept = 1 + len(columns) - len(keeps)
    columns.extend(map(list, keeps_by_leaf))
    rows = []
    for i, g in enumerate(self.updates.leaves):
      row = [g, *(column[i] for column in columns)]
      out = [g, *row[first_kept:]]
      if not is_absent(g) and (inside is None or inside[i]):
        arrays = jax.tree.map(jnp.asarray, row)
        dtype = _arrays.compute_dtype(arrays)
        wide = _arrays.upcast(arrays, dtype)
        now = None if numbers is None else numbers.cast(dtype)
        new = step(now, *wide, *(column[i] for column in extras))
        u, *kept = new if out[1:] else (new,)
        out = [
          _arrays.downcast(x, like)
          for x, like in zip(
            [held(u, wide[0]), *map(finite, kept)],
            [arrays[0], *out[1:]],
            strict=True,
          )
        ]
      rows.append(out)
    n = 1 + len(keeps)
    kept = [[row[i] for row in rows] for i in range(n + len(keeps_by_leaf))]
    updates, *trees = map(self.tree, kept[:n])
    return updates, [*trees, *kept[n:]]


def flatten(owner: str, name: str, tree: Any) -> Leaves:
  """The leaves of the params at `init`, or of updates without params.

  TypeError for one that is not floating names the mechanism, `owner`, and what
  the tree is.
  """
  flat = _trees.flatten(tree)
  _trees.check_floating(owner, name, flat)
  return Leaves(flat)


def with_params(owner: str, updates: Any, params: Any) -> Leaves:
  """The leaves of the updates, with the params, which must be there."""
  flat = flatten(owner, 'updates', updates).updates
  check_params(owner, params)
  aligned = flat.align('params', params)
  return Leaves(flat, _trees.Flat(aligned, flat.treedef))


def check_params(owner: str, params: Any) -> None:
  """Raises ValueError if there are no params."""
  if params is None:
    raise ValueError(
      f'{owner} needs the params: call update(updates, state, params).'
    )


def check_transformation(name: str, value: Any) -> None:
  """Raises TypeError if `value` is no gradient transformation."""
  if not isinstance(value, optax.GradientTransformation):
    raise TypeError(
      f'{name} must be an optax.GradientTransformation, got {value!r}.'
    )


def boundary(owner: str, new_task: Any, count: jax.Array) -> Any:
  """Whether a boundary between tasks comes before this update.

  Before the very first one (of `count` 0) there is no task, and `new_task` is
  ignored. It is False where that is known before the update is compiled, else a
  bool array.
  """
  if isinstance(new_task, bool | np.bool_):
    return count > 0 if new_task else False
  if not isinstance(new_task, jax.Array | np.ndarray) or (
    new_task.dtype != jnp.bool_ or new_task.ndim
  ):
    raise TypeError(
      f'{owner} takes new_task as a bool or a bool array of shape (), got '
      f'{new_task!r}.'
    )
  return jnp.asarray(new_task) & (count > 0)


def rounded(fraction: Any, count: Any) -> Any:
  """`round(fraction · count)`, to even where it is half way."""
  if _numbers.is_known(fraction) and isinstance(count, int):
    return round(float(fraction) * count)
  exact = jnp.asarray(fraction).astype(jnp.result_type(float)) * count
  return jnp.round(exact).astype(jnp.int32)


def now_and_then(
  every: Any, t: jax.Array, act: Callable[[], Any], kept: Any
) -> Any:
  """`act()` where t is a multiple of `every`, else `kept`."""
  if isinstance(every, int) and every == 1:
    return act()
  # A conditional, so that noise is drawn only where it is used.
  return jax.lax.cond(t % every == 0, act, lambda: kept)


# Leaves.


def wide_dtype(leaf: Any) -> Any:
  """The dtype of an accumulator of a leaf: at least float32."""
  return _arrays.promoted(jnp.float32, jnp.result_type(leaf))


def copied(leaf: Any) -> jax.Array:
  """A copy of a leaf in a buffer of its own, of at least float32."""
  return jnp.array(leaf, dtype=wide_dtype(leaf), copy=True)


def is_absent(leaf: Any) -> bool:
  """Whether a leaf is None or empty."""
  return leaf is None or 0 in jnp.shape(leaf)


def axes(leaf: jax.Array, stacked: int) -> tuple[int, ...]:
  """The axes of a leaf behind the stacked ones: [..., in, out] of a kernel."""
  return tuple(range(stacked, jnp.ndim(leaf)))


def moments(leaf: Any) -> tuple[jax.Array, jax.Array]:
  """The mean and the standard deviation of a leaf, scalars."""
  x = jnp.asarray(leaf).astype(wide_dtype(leaf))
  n = max(x.size, 1)
  mean = jnp.sum(x / n)
  # By the largest of them, so that no square overflows or vanishes.
  moved = finite(x - mean)
  tiny = float(jnp.finfo(x.dtype).tiny)
  largest = jnp.max(jnp.abs(moved), initial=tiny)
  return mean, largest * jnp.sqrt(jnp.sum(jnp.square(moved / largest) / n))


# Arithmetic.


def mean(
  x: jax.Array, over: tuple[int, ...], *, keepdims: bool = False
) -> jax.Array:
  """The mean over some axes; no sum overflows."""
  n = math.prod(x.shape[axis] for axis in over)
  return jnp.sum(x / max(n, 1), axis=over, keepdims=keepdims)


def norms(x: jax.Array, over: tuple[int, ...]) -> jax.Array:
  """√Σx² over some axes, which stay; no square overflows or vanishes."""
  largest = jnp.max(jnp.abs(x), axis=over, keepdims=True)
  tiny = float(jnp.finfo(x.dtype).tiny)
  scale = jnp.where(largest >= tiny, largest, jnp.ones_like(largest))
  squares = jnp.square(x * (1 / scale))
  return scale * jnp.sqrt(jnp.sum(squares, axis=over, keepdims=True))


def finite(x: jax.Array) -> jax.Array:
  """Numbers beyond the largest become the largest; NaN stays."""
  most = float(jnp.finfo(x.dtype).max)
  return jnp.clip(x, -most, most)


def held(u: jax.Array, g: jax.Array) -> jax.Array:
  """u without infinities, but where g itself is not finite.

  There `optax.apply_if_finite` must see them.
  """
  return jnp.where(jnp.isfinite(g), finite(u), u)


def product(x: jax.Array, y: jax.Array) -> jax.Array:
  """x ⊙ y, at most the largest number, so that 0 times it is 0 and not NaN."""
  return finite(x * y)


def ratio(x: jax.Array, y: jax.Array) -> jax.Array:
  """x / y for y ≥ 0, at most the largest number; x where y is 0."""
  return finite(x / jnp.where(y > 0, y, jnp.ones_like(y)))


def added(g: jax.Array, strength: Any, term: jax.Array) -> jax.Array:
  """g + strength·term, and g itself where the strength is known to be 0.

  The sum would make 0 of -0.
  """
  if _numbers.is_zero(strength):
    return g
  return g + strength * term


def debiased_rate(decay: Any, t: jax.Array, dtype: Any) -> jax.Array:
  """(1 - β) / (1 - βᵗ): the rate of an average whose weights sum to 1.

  m + rate·(x - m) is the average Σ βⁱx / Σ βⁱ, which Adam has by dividing by
  1 - βᵗ. Here a constant x gives x, without rounding.
  """
  # Rounding must not take it above 1, where the largest numbers overflow.
  rate = jnp.asarray((1 - decay) / bias(decay, t, dtype))
  return jnp.minimum(rate, jnp.ones_like(rate))


def bias(decay: Any, t: jax.Array, dtype: Any) -> jax.Array:
  """1 - βᵗ for t ≥ 1, precise also where β is near 1."""
  if isinstance(decay, float):
    # The logarithm of a Python number is exact in 64 bits.
    log_decay: Any = float(np.log(decay)) if decay > 0 else -np.inf
  else:
    log_decay = jnp.log(decay)
  return -jnp.expm1(t.astype(dtype) * log_decay)


def grown(w: jax.Array, exponent: jax.Array, floor: float) -> jax.Array:
  """w·(exp(exponent) - 1): what is to be added so that w keeps its sign."""
  return w * jnp.maximum(jnp.expm1(exponent), floor)
