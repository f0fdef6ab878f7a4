"""Homeostasis and the learning-rate controller, which follow the modulation.

As published (Jiang et al., arXiv:2604.26297), homeostasis is

  n = ‖u‖;                if n > R:  u ← u·R/(n + ε)
  r = √(mean(u²) + ε);    u ← u·clip(1 + k·(τ·c - r), 0.5, 1.5)

Since both only scale u, one reduction serves both: r follows from n. For the
controller, each leaf has

  ℓ = mean(log(max(α, ε) / max(α_grad, ε)))

with entries that are not finite counted as 0. A group of leaves has one
multiplier, clip(1 + γ·mean(ℓ), low, high), with a plain mean over its leaves.
"""

from collections.abc import Callable, Hashable, Sequence
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
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

  max_update_norm: Any = _numbers.number(
    default=1.0,
    low=0.0,
    low_open=True,
    optional='no norm clip',
    schedule=False,
  )
  target_rms: Any = _numbers.number(
    default=0.02, low=0.0, schedule=False, optional='no RMS gain'
  )
  adaptation_rate: Any = _numbers.number(default=0.01, low=0.0, schedule=False)
  target_rms_scale: Callable[[_types.Params], Any] | Any = None

  _trees_of_numbers: ClassVar[tuple[str, ...]] = ('target_rms_scale',)

  def __post_init__(self) -> None:
    super().__post_init__()
    scale = self.target_rms_scale
    if not _trees.is_callable_of_params(scale):
      for path, leaf in jax.tree.leaves_with_path(scale):
        where = jax.tree_util.keystr(_trees.plain(path))
        name = f'Homeostasis.target_rms_scale{where}'
        _numbers.POSITIVE.check(name, leaf)


def factor(
  norm: jax.Array,
  size: float | jax.Array,
  homeostasis: Homeostasis,
  target_scale: _numbers.Scalar,
  eps: _numbers.Scalar,
) -> jax.Array:
  """What homeostasis multiplies an update of norm n and N elements by.

  `target_scale` is c. The factor is 0 where there is a clip and n overflowed.
  """
  divisor = gain = _arrays.one_like(norm)
  if (most := homeostasis.max_update_norm) is not None:
    divisor = jnp.where(norm > most, (norm + eps) / most, 1.0)
  if homeostasis.target_rms is not None:
    target = homeostasis.target_rms * target_scale
    # What an infinite divisor divides does not matter, but must not be ∞/∞.
    largest = jnp.finfo(norm.dtype).max
    clipped = _arrays.divide(
      jnp.minimum(norm, largest), jnp.minimum(divisor, largest)
    )
    root = jnp.sqrt(size) if isinstance(size, jax.Array) else math.sqrt(size)
    rms = jnp.hypot(clipped / root, jnp.sqrt(eps))
    gain = 1 + homeostasis.adaptation_rate * (target - rms)
    gain = jnp.clip(gain, 0.5, 1.5)
  # The division comes last: XLA leaves it out of what is done to each element,
  # and with it all that led to it.
  return _arrays.divide(gain, divisor)


def scaled(update: jax.Array, factor_: jax.Array) -> jax.Array:
  """u times its factor; a factor of 0 makes 0 of infinite elements too.

  Those are products α ⊙ b beyond the largest number. NaN stays NaN.
  """
  return _arrays.times(factor_, jnp.where(factor_ == 0, 0.0, update))


@dataclasses.dataclass(frozen=True)
class LearningRateController(_numbers.Stage):
  """Multiplies the update of each group of leaves by what its α says.

  The multiplier of a group is

      clip(1 + γ·mean(ℓ), low, high)

  where ℓ of a leaf is the mean of log(α / α_grad) over its elements, and the
  mean runs over the leaves of the group (over every slice of a stacked leaf).
  The multiplier scales what `neuroplastic` returns; it does not scale a weight
  decay chained after it. In gradient-only mode every multiplier is 1.

  Source: Jiang et al., arXiv:2604.26297.

  Attributes:
    gain: γ ≥ 0.
    low: the smallest multiplier, ≥ 0.
    high: the largest multiplier, ≥ low.
    groups: a label for each leaf: a pytree (prefixes allowed) or a callable of
      the params, as in `optax.partition`. A group has one multiplier, which all
      slices of a stacked leaf share. None for one group of all leaves.
    scope: the leaves that take part: a pytree of bools (prefixes allowed) or a
      callable of the params. The other leaves, and empty ones, keep the
      multiplier 1 and do not count in the mean. None for all leaves.

  Raises:
    TypeError: an attribute has the wrong type.
    ValueError: a Python or NumPy number is out of range.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import LearningRateController, neuroplastic
    >>> from neuroplastic_optax import scopes
    >>> controller = LearningRateController(gain=0.5, scope=scopes.classifier())
    >>> tx = optax.chain(neuroplastic(controller=controller), optax.scale(-0.1))
  """

  gain: Any = _numbers.number(default=0.1, low=0.0, schedule=False)
  low: Any = _numbers.number(default=0.8, low=0.0, schedule=False)
  high: Any = _numbers.number(default=1.2, low=0.0, schedule=False)
  groups: Any | Callable[[_types.Params], Any] = None
  scope: Any | Callable[[_types.Params], Any] = None

  def __post_init__(self) -> None:
    super().__post_init__()
    low, high = (self._label.format(name) for name in ('low', 'high'))
    _numbers.check_order(low, self.low, high, self.high)

  def multipliers(
    self, log_ratios: Sequence[jax.Array | None], groups: Sequence[Hashable]
  ) -> list[jax.Array | None]:
    """The multiplier of each leaf, a scalar; None for 1.

    Args:
      log_ratios: ℓ of each leaf, an array with an entry for each slice of a
        stacked leaf; None where there is none.
      groups: the group of each leaf, None outside the scope.
    """
    members: dict[Hashable, list[jax.Array]] = {}
    for log_ratio_, group in zip(log_ratios, groups, strict=True):
      if log_ratio_ is not None and group is not None:
        members.setdefault(group, []).append(log_ratio_)
    multiplier = {
      group: self._multiplier(found) for group, found in members.items()
    }
    return [
      None if log_ratio_ is None else multiplier.get(group)
      for log_ratio_, group in zip(log_ratios, groups, strict=True)
    ]

  def _multiplier(self, log_ratios: Sequence[jax.Array]) -> jax.Array:
    """The multiplier of the group of leaves that have these ℓ, a scalar."""
    count = sum(map(_arrays.count, log_ratios))
    # Leaves of other dtypes than one another have such ℓ.
    dtype = _arrays.promoted(*(each.dtype for each in log_ratios))
    total = sum(jnp.sum(each).astype(dtype) for each in log_ratios)
    mean = jnp.asarray(total) / count
    numbers = self.cast(mean.dtype)
    return jnp.clip(1 + numbers.gain * mean, numbers.low, numbers.high)


def log_ratio(
  alpha: jax.Array,
  alpha_gradient: jax.Array,
  eps: _numbers.Scalar,
) -> jax.Array:
  """log(max(α, ε) / max(α_grad, ε)), whose mean over a tensor is ℓ."""
  return _arrays.log_ratio(
    jnp.maximum(alpha, eps), jnp.maximum(alpha_gradient, eps)
  )
