"""Dtypes: what is computed in what, and how it gets in and out.

Arithmetic is in at least float32; what is stored keeps its own dtype. Casts are
explicit, so that everything works under `jax.numpy_dtype_promotion('strict')`.
"""

from typing import Any

import jax
import jax.numpy as jnp


def promoted(*dtypes: Any) -> Any:
  """The dtype that can hold all of these, also where promotion is strict."""
  with jax.numpy_dtype_promotion('standard'):
    return jnp.result_type(*dtypes)


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


def check_state_dtype(dtype: Any) -> Any:
  """The dtype that `state_dtype` names.

  Args:
    dtype: the argument; None for that of the params.

  Returns:
    A dtype, or None.

  Raises:
    TypeError: it names no dtype.
    ValueError: the dtype is not floating, or needs 64-bit mode.
  """
  if dtype is None:
    return None
  message = f'state_dtype must be a floating dtype or None, got {dtype!r}.'
  try:
    known = jnp.dtype(dtype)
  except TypeError:
    raise TypeError(message) from None
  if not jnp.issubdtype(known, jnp.floating):
    raise ValueError(message)
  if jax.dtypes.canonicalize_dtype(known) != known:
    raise ValueError(
      f'state_dtype={known.name} needs 64-bit mode: call '
      "jax.config.update('jax_enable_x64', True) first."
    )
  return known


def accumulator_dtype(dtype: Any, decay: float | None) -> Any:
  """The dtype in which an average with that decay moves at all.

  A step of ρ·a + (1-ρ)·x changes a by at most (1-ρ)·a on its way down. Where
  that is less than the spacing of the dtype's numbers, a would never fall.

  Args:
    dtype: what is asked for; None for the param's, which is left to it.
    decay: ρ; None if it is not known, and the dtype is taken as it is.

  Returns:
    The dtype, or float32.
  """
  if dtype is None or decay is None or 1 - decay >= jnp.finfo(dtype).eps:
    return dtype
  return promoted(dtype, jnp.float32)


def moment_dtype(param_dtype: Any, dtype: Any) -> Any:
  """The dtype of a moment that is complex where the param is."""
  if dtype is None:
    return param_dtype
  if jnp.issubdtype(param_dtype, jnp.complexfloating):
    return promoted(dtype, jnp.complex64)
  return dtype


def upcast(tree: Any, dtype: Any) -> Any:
  """The tree in real dtype `dtype`, complex leaves in its complex twin."""

  def cast(x: jax.Array) -> jax.Array:
    complex_ = jnp.iscomplexobj(x)
    return jnp.asarray(x).astype(
      promoted(dtype, jnp.complex64) if complex_ else dtype
    )

  return jax.tree.map(cast, tree)


def _hold(x: jax.Array, bound: float) -> jax.Array:
  """Finite numbers held within ±bound."""
  return jnp.where(jnp.isfinite(x), jnp.clip(x, -bound, bound), x)


def downcast(x: jax.Array, like: jax.Array) -> jax.Array:
  """`x` in the dtype, and of the weak type, of `like`.

  A finite number too large for that dtype becomes its largest, not infinite.
  """
  low, bound = x, float(jnp.finfo(like.dtype).max)
  if bound < jnp.finfo(x.dtype).max:
    if jnp.iscomplexobj(x):
      low = jax.lax.complex(_hold(x.real, bound), _hold(x.imag, bound))
    else:
      low = _hold(x, bound)
  low = low.astype(like.dtype)
  if jax.typeof(like).weak_type:
    # The only public operation that gives a weak type back: scattering into
    # a weakly typed array.
    low = jnp.zeros_like(like).at[...].set(low)
  return low
