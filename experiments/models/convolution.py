"""Convolutions whose gradients are as fast inside of loops as outside.

XLA for CPUs brings a convolution into the one form that its fast kernels take,
images [b, h, w, c] and kernels [h, w, c, o], but only outside of loops (JAX's
issue 12868). The two gradients of a convolution are convolutions of other
forms. A compiled epoch is a loop, in which they take up to a hundred times as
long, unless they are written in that form, as they are here.
"""

from collections.abc import Sequence
import functools
from typing import Any

from flax import nnx
import jax
from jax import lax

_FORM = ('NHWC', 'HWIO', 'NHWC')
# What `nnx.Conv` gives by name, where it is not told otherwise.
_OTHERS = {
  'lhs_dilation': (1, 1),
  'rhs_dilation': (1, 1),
  'dimension_numbers': lax.conv_dimension_numbers((1,) * 4, (1,) * 4, _FORM),
  'feature_group_count': 1,
  'precision': None,
  'out_sharding': None,
}
_Pads = tuple[tuple[int, int], ...]


def convolve(
  images: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  **others: Any,
) -> jax.Array:
  """What `lax.conv_general_dilated` gives, with gradients that suit loops.

  It takes the place of that function in `nnx.Conv`. On CPUs alone, gradients
  have another form, and the same values. They can be differentiated again, in
  both modes. The convolution itself has no forward mode (`jax.jvp`), as nothing
  has that is a `jax.custom_vjp`.

  Args:
    images: [b, h, w, c].
    kernel: [h, w, c, o], of the images' dtype.
    strides: of height and width.
    padding: 'SAME', 'VALID', or (low, high) of height and width.
    **others: what else `nnx.Conv` gives; its defaults alone are supported.

  Returns:
    Images [b, h, w, o].

  Raises:
    NotImplementedError: if one of `others` is not its default.
  """
  for name, value in others.items():
    if name not in _OTHERS or value != _OTHERS[name]:
      raise NotImplementedError(f'convolve knows no {name}={value!r}.')
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      images.shape[1:3], kernel.shape[:2], strides, padding
    )
  return _convolve(
    tuple(strides), tuple((low, high) for low, high in padding), images, kernel
  )


# As `nnx.Conv`, which all convolutions of the models are.
Conv = functools.partial(nnx.Conv, conv_general_dilated=convolve)


def _plain(
  strides: tuple[int, ...], pads: _Pads, images: jax.Array, kernel: jax.Array
) -> jax.Array:
  return lax.conv_general_dilated(
    images, kernel, strides, pads, dimension_numbers=_FORM
  )


_convolve = jax.custom_vjp(_plain, nondiff_argnums=(0, 1))


def _forward(
  strides: tuple[int, ...], pads: _Pads, images: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _plain(strides, pads, images, kernel), (images, kernel)


def _backward(
  strides: tuple[int, ...],
  pads: _Pads,
  operands: tuple[jax.Array, jax.Array],
  slopes: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The gradients of images and kernel, from that of the result."""

  def plain(
    images: jax.Array, kernel: jax.Array, slopes: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    of_images = jax.linear_transpose(
      lambda images: _plain(strides, pads, images, kernel), images
    )
    of_kernel = jax.linear_transpose(
      lambda kernel: _plain(strides, pads, images, kernel), kernel
    )
    return *of_images(slopes), *of_kernel(slopes)

  def formed(
    images: jax.Array, kernel: jax.Array, slopes: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    # By axis: of images, kernel, strided slopes; and what is padded below.
    sizes = [
      (n, k, (m - 1) * stride + 1, low)
      for n, k, m, stride, (low, _) in zip(
        images.shape[1:3],
        kernel.shape[:2],
        slopes.shape[1:3],
        strides,
        pads,
        strict=True,
      )
    ]
    of_images = _in_form(
      slopes,
      lax.rev(kernel, (0, 1)).swapaxes(2, 3),
      [(k - 1 - low, n + low - m) for n, k, m, low in sizes],
      lhs_dilation=strides,
    )
    of_kernel = _in_form(
      images.transpose(3, 1, 2, 0),
      slopes.transpose(1, 2, 0, 3),
      [(low, m + k - 1 - n - low) for n, k, m, low in sizes],
      rhs_dilation=strides,
    )
    return of_images, of_kernel.transpose(1, 2, 0, 3)

  # Chosen where a program is compiled: `experiments.aot` has a CPU at hand,
  # and compiles for TPUs.
  return lax.platform_dependent(*operands, slopes, cpu=formed, default=plain)


_convolve.defvjp(_forward, _backward)


def _in_form(
  images: jax.Array, kernel: jax.Array, pads: Sequence[Any], **dilation: Any
) -> jax.Array:
  """A convolution that keeps its form."""
  # XLA would make the operands' transposes part of the convolution.
  images, kernel = lax.optimization_barrier((images, kernel))
  return lax.conv_general_dilated(
    images, kernel, (1, 1), pads, dimension_numbers=_FORM, **dilation
  )
