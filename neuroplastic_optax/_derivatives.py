"""Operations whose derivatives are finite wherever their values are.

A gradient of exactly 0 is common: zero-initialised gates, LoRA at its first
step, dead units. There √x has an infinite slope, and 1/y² overflows for a small
y; 0·∞ then makes NaN of the derivative by every hyperparameter. The values are
those of the plain operations, to the last bit.

`jax.custom_jvp` takes a millisecond to trace, on every leaf: it is used where
plain operations do not do.
"""

import jax
import jax.numpy as jnp


def finite(x: jax.Array) -> jax.Array:
  """x, with 0 for what is not finite."""
  return jnp.where(jnp.isfinite(x), x, 0.0)


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
  return ratio, divide(dx - finite(ratio) * dy, y)


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
    jnp.where(usual, each, default)
    for each, default in ((x, 1.0), (y, 1.0), (dx, 0.0), (dy, 0.0))
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
