"""A max-pool whose gradient is quick on CPUs.

XLA for CPUs scatters the gradient of a max-pool in a loop, element by element.
Windows of 2×2 that do not overlap need no scatter: three comparisons say which
of four elements was taken.
"""

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp


@jax.custom_vjp
def halve(images: jax.Array) -> jax.Array:
  """`nnx.max_pool` of 2×2 with strides of 2, to the last bit.

  So is its gradient, which the first of equal elements gets, row by row. On
  CPUs alone it is computed in another way. `convolution.convolve` says what can
  be differentiated.

  Args:
    images: [b, h, w, c].

  Returns:
    Images [b, h // 2, w // 2, c]; a last odd row or column is left out.
  """
  return _plain(images)


def _plain(images: jax.Array) -> jax.Array:
  return nnx.max_pool(images, (2, 2), strides=(2, 2))


def _forward(images: jax.Array) -> tuple[jax.Array, jax.Array]:
  return _plain(images), images


def _backward(images: jax.Array, slopes: jax.Array) -> tuple[jax.Array]:
  """The gradient of the images, from that of the result."""
  of_images = lax.platform_dependent(
    images, slopes, cpu=_compared, default=_scattered
  )
  return (of_images,)


halve.defvjp(_forward, _backward)


def _scattered(images: jax.Array, slopes: jax.Array) -> jax.Array:
  (of_images,) = jax.vjp(_plain, images)[1](slopes)
  return of_images


def _compared(images: jax.Array, slopes: jax.Array) -> jax.Array:
  # The four elements of each window.
  height, width = slopes.shape[1:3]
  a, b, c, d = (
    images[:, i : 2 * height : 2, j : 2 * width : 2]
    for i in (0, 1)
    for j in (0, 1)
  )
  # As XLA goes through a window: what is met is kept if it is ≥ the next one.
  # So NaN too goes where XLA has it go.
  keep_a = a >= b
  first = jnp.where(keep_a, a, b)
  keep_first = first >= c
  second = jnp.where(keep_first, first, c)
  keep_second = second >= d
  upper = keep_first & keep_second
  taken = (
    (keep_a & upper, ~keep_a & upper),
    (~keep_first & keep_second, ~keep_second),
  )
  # [b, h, 2, w, 2, c]
  windows = jnp.stack(
    [
      jnp.stack([jnp.where(here, slopes, 0) for here in row], axis=3)
      for row in taken
    ],
    axis=2,
  )
  whole = windows.reshape(len(images), 2 * height, 2 * width, -1)
  odd = [(0, n - m) for n, m in zip(images.shape, whole.shape, strict=True)]
  return jnp.pad(whole, odd)
