"""Homeostasis: what bounds the update of one tensor.

As published (Jiang et al., arXiv:2604.26297):

  n = ‖u‖;                if n > R:  u ← u·R/(n + ε)
  r = √(mean(u²) + ε);    u ← u·clip(1 + k·(τ·c - r), 0.5, 1.5)

Since both only scale u, one reduction serves both: r follows from n.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from neuroplastic_optax import _derivatives
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types


@dataclasses.dataclass(frozen=True)
class Homeostasis(_numbers.Stage):
  """Bounds the norm of each tensor's update, and pulls its RMS to a target.

  It is the last stage of an update u, before the controller,

      if ‖u‖ > R:  u ← u·R / (‖u‖ + ε)
      r = √(mean(u²) + ε)
      u ← u·clip(1 + k·(τ·c - r), 0.5, 1.5)

  The object is a pytree of its numbers, each of which may be a Python or NumPy
  number, a JAX array or a tracer. Source: Jiang et al., arXiv:2604.26297.

  Attributes:
    max_update_norm: R > 0, the largest norm that the update of a tensor has
      before the RMS gain; None for no clip.
    target_rms: τ ≥ 0, the root mean square to which the gain pulls the update;
      None for no gain.
    adaptation_rate: k ≥ 0, the strength of that pull.
    target_rms_scale: c > 0 of each leaf: a pytree of numbers (prefixes allowed)
      or a callable of the params that returns one, such as `scopes.thirds`.
      None for 1 everywhere.

  Raises:
    TypeError: an attribute has the wrong type.
    ValueError: a Python or NumPy number is out of range.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import Homeostasis, neuroplastic
    >>> homeostasis = Homeostasis(max_update_norm=0.5, target_rms=None)
    >>> tx = optax.chain(
    ...   neuroplastic(homeostasis=homeostasis), optax.scale(-0.1)
    ... )
  """

  max_update_norm: Any = _numbers.field(
    dataclasses.replace(_numbers.POSITIVE, optional='no norm clip'),
    default=1.0,
  )
  target_rms: Any = _numbers.field(
    dataclasses.replace(_numbers.NON_NEGATIVE, optional='no RMS gain'),
    default=0.02,
  )
  adaptation_rate: Any = _numbers.field(_numbers.NON_NEGATIVE, default=0.01)
  target_rms_scale: Callable[[_types.Params], Any] | Any = None

  _trees_of_numbers: ClassVar[tuple[str, ...]] = ('target_rms_scale',)

  def __post_init__(self) -> None:
    super().__post_init__()
    scale = self.target_rms_scale
    if not _trees.is_callable_of_params(scale):
      for path, leaf in jax.tree.leaves_with_path(scale):
        name = 'Homeostasis.target_rms_scale' + jax.tree_util.keystr(path)
        _numbers.POSITIVE.check(name, leaf)

  def scales(self, flat: _trees.Flat) -> list[Any]:
    """The target RMS scale c of each leaf of a flattened tree."""
    if self.target_rms_scale is None:
      return [1.0] * len(flat.leaves)
    name = 'Homeostasis.target_rms_scale'
    scales = _trees.broadcast(name, self.target_rms_scale, flat)
    if _trees.is_callable_of_params(self.target_rms_scale):
      # Those of a pytree were checked when it was given.
      paths = flat.map_with_path(lambda path, _: jax.tree_util.keystr(path))
      for path, scale in zip(paths, scales, strict=True):
        if path is not None:
          _numbers.POSITIVE.check(f'{name} of params{path}', scale)
    return scales


def clip_divisor(
  norm: jax.Array,
  max_norm: _numbers.Scalar,
  eps: _numbers.Scalar,
) -> jax.Array:
  """(n + ε) / R where n > R, else 1: what the norm clip divides by."""
  return jnp.where(norm > max_norm, (norm + eps) / max_norm, 1.0)


def rms_gain(
  norm: jax.Array,
  size: float | jax.Array,
  target: _numbers.Scalar,
  rate: _numbers.Scalar,
  eps: _numbers.Scalar,
) -> jax.Array:
  """clip(1 + k·(τ·c - √(n²/N + ε)), 0.5, 1.5)."""
  root = jnp.sqrt(size) if isinstance(size, jax.Array) else math.sqrt(size)
  rms = jnp.hypot(norm / root, jnp.sqrt(eps))
  return jnp.clip(1 + rate * (target - rms), 0.5, 1.5)


def factor(
  norm: jax.Array,
  size: float | jax.Array,
  homeostasis: Homeostasis,
  target_scale: _numbers.Scalar,
  eps: _numbers.Scalar,
) -> jax.Array:
  """What homeostasis multiplies an update of norm n and N elements by.

  Args:
    norm: n = ‖u‖, a scalar.
    size: N.
    homeostasis: with its numbers cast.
    target_scale: c.
    eps: ε.

  Returns:
    A scalar of the norm's dtype; 0 if there is a norm clip and n overflowed.
  """
  divisor = gain = jnp.ones_like(norm)
  if homeostasis.max_update_norm is not None:
    divisor = clip_divisor(norm, homeostasis.max_update_norm, eps)
  if homeostasis.target_rms is not None:
    target = homeostasis.target_rms * target_scale
    rate = homeostasis.adaptation_rate
    # What an infinite divisor divides does not matter, but must not be ∞/∞.
    largest = jnp.finfo(norm.dtype).max
    clipped = _derivatives.divide(
      jnp.minimum(norm, largest), jnp.minimum(divisor, largest)
    )
    gain = rms_gain(clipped, size, target, rate, eps)
  # The division comes last: XLA leaves it out of what is done to each element,
  # and with it all that led to it.
  return _derivatives.divide(gain, divisor)


def scaled(update: jax.Array, factor_: jax.Array) -> jax.Array:
  """u times its factor; a factor of 0 makes 0 of infinite elements too.

  Those are products α ⊙ b beyond the largest number. NaN stays NaN.
  """
  return _dtypes.times(factor_, jnp.where(factor_ == 0, 0.0, update))
