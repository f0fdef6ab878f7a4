"""What every mechanism does with the leaves of its trees."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types


def flatten(owner: str, name: str, tree: Any) -> _trees.Flat:
  """A tree of floating leaves, taken apart.

  Args:
    owner: the mechanism, for the message.
    name: what the tree is.
    tree: the tree.

  Raises:
    TypeError: a leaf is not floating.
  """
  flat = _trees.flatten(tree)
  _trees.check_floating(owner, name, flat)
  return flat


def params_of(
  owner: str, flat: _trees.Flat, params: _types.Params | None
) -> list[Any]:
  """The params where the updates have leaves.

  Raises:
    ValueError: there are no params, or they have another structure.
  """
  if params is None:
    raise ValueError(
      f'{owner} needs the params: call update(updates, state, params).'
    )
  return flat.align('params', params)


def wide_dtype(leaf: Any) -> Any:
  """The dtype of an accumulator of a leaf: at least float32."""
  return _arrays.promoted(jnp.float32, jnp.result_type(leaf))


def zeros(flat: _trees.Flat) -> Any:
  """A tree of zeros like the params, of at least float32."""
  return flat.unflatten(
    [
      None if x is None else jnp.zeros_like(x, dtype=wide_dtype(x))
      for x in flat.leaves
    ]
  )


def copies(flat: _trees.Flat) -> Any:
  """A tree of copies of the params, of at least float32.

  The copies have buffers of their own, so that params and state can be donated.
  """
  return flat.unflatten([copied(x) for x in flat.leaves])


def copied(leaf: Any) -> Any:
  """A copy of a leaf in a buffer of its own, of at least float32."""
  if leaf is None:
    return None
  return jnp.array(leaf, dtype=wide_dtype(leaf), copy=True)


def per_leaf(flat: _trees.Flat, values: Sequence[Any]) -> Any:
  """What the state holds of numbers that a leaf has, but not in its shape.

  A tree like the params would pass for a copy of them, to be sharded or reset
  as they are. So it is a tuple. Where there are no leaves, it is one number:
  `optax.tree.map_params`, which has a placeholder for the params, then finds no
  structure that it could miss in the true state.
  """
  return tuple(values) if flat.leaves else jnp.zeros([], jnp.float32)


def kept_per_leaf(flat: _trees.Flat, kept: Any) -> list[Any]:
  """The values that `per_leaf` made a tuple of."""
  return list(kept) if flat.leaves else []


def is_absent(leaf: Any) -> bool:
  """Whether a leaf is None or empty."""
  return leaf is None or 0 in jnp.shape(leaf)


def advance(
  step: Callable[..., tuple[Any, ...]],
  numbers: _numbers.Numbers | None,
  updates: Sequence[Any],
  *,
  reads: Sequence[Sequence[Any]] = (),
  keeps: Sequence[Sequence[Any]] = (),
  extras: Sequence[Sequence[Any]] = (),
  inside: Sequence[bool] | None = None,
) -> tuple[list[Any], list[list[Any]]]:
  """Makes the update of every leaf, and what is kept of it.

  Arithmetic is in at least float32; what comes out has the dtype of what went
  in. Finite numbers that no longer fit in it become its largest.

  Args:
    step: `step(numbers, g, *reads, *keeps, *extras)` of one leaf. It returns
      the update and the new values of `keeps`.
    numbers: the hyperparameters, with schedules resolved; None for none.
    updates: g of every leaf. A leaf that is None or empty is left as it is.
    reads: columns of arrays with a value for every leaf, such as the params.
    keeps: such columns, of arrays that the state holds.
    extras: such columns of anything, which are passed on as they are.
    inside: which leaves to work on; None for all. The others are left alone.

  Returns:
    The updates, and the new columns of `keeps`.
  """
  outgoing: list[Any] = []
  kept: list[list[Any]] = [[] for _ in keeps]
  for i, g in enumerate(updates):
    old = [column[i] for column in keeps]
    u, new = g, old
    if not is_absent(g) and (inside is None or inside[i]):
      others = [column[i] for column in reads]
      arrays = jax.tree.map(jnp.asarray, [g, *others, *old])
      dtype = _arrays.compute_dtype(arrays)
      wide = _arrays.upcast(arrays, dtype)
      cast = None if numbers is None else numbers.cast(dtype)
      u, *new = step(cast, *wide, *(column[i] for column in extras))
      u = _arrays.downcast(held(u, wide[0]), arrays[0])
      new = [
        _arrays.downcast(finite(x), like)
        for x, like in zip(new, old, strict=True)
      ]
    outgoing.append(u)
    for column, x in zip(kept, new, strict=True):
      column.append(x)
  return outgoing, kept


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
    log_decay: Any = np.log(decay) if decay > 0 else -np.inf
    log_decay = float(log_decay)
  else:
    log_decay = jnp.log(decay)
  return -jnp.expm1(t.astype(dtype) * log_decay)


def kernels(
  name: str, mask: Any, flat: _trees.Flat, stacked: Sequence[int]
) -> list[bool]:
  """Which leaves a mask takes; None for those of rank 2 and more.

  Args:
    name: the argument's name, for the message.
    mask: as in `optax.masked`, or None.
    flat: the params.
    stacked: of each leaf, how many axes do not count.
  """
  if mask is not None:
    return _trees.mask(name, mask, flat)
  return [
    leaf is not None and jnp.ndim(leaf) - n > 1
    for leaf, n in zip(flat.leaves, stacked, strict=True)
  ]


def grown(w: jax.Array, exponent: jax.Array, floor: float) -> jax.Array:
  """w·(exp(exponent) - 1): what is to be added so that w keeps its sign."""
  return w * jnp.maximum(jnp.expm1(exponent), floor)


def shrink_floor(update: Any) -> float:
  """The factor ≥ -1 by which a step may shrink a weight, and not to 0.

  -w is the nearest number of low precision to most of -w·(1 - exp(-10)).
  """
  if update is None:
    return -1.0
  return float(jnp.finfo(jnp.result_type(update)).eps) - 1.0


def check_transformation(name: str, value: Any) -> None:
  """Refuses what is no gradient transformation.

  Raises:
    TypeError: naming the argument.
  """
  if not isinstance(value, optax.GradientTransformation):
    raise TypeError(
      f'{name} must be an optax.GradientTransformation, got {value!r}.'
    )
