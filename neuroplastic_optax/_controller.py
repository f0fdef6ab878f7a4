"""The learning-rate controller: a multiplier of the step from what α says.

As published (Jiang et al., arXiv:2604.26297): per leaf,

    ℓ = mean(log(max(α, ε) / max(α_grad, ε)))

with entries that are not finite counted as 0. A group of leaves has one
multiplier, clip(1 + γ·mean(ℓ), low, high), with a plain mean over its leaves.
"""

from collections.abc import Callable, Hashable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from neuroplastic_optax import _derivatives
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _numbers
from neuroplastic_optax import _reductions
from neuroplastic_optax import _tensor
from neuroplastic_optax import _trees
from neuroplastic_optax import _types


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

  gain: Any = _numbers.field(_numbers.NON_NEGATIVE, default=0.1)
  low: Any = _numbers.field(_numbers.NON_NEGATIVE, default=0.8)
  high: Any = _numbers.field(_numbers.NON_NEGATIVE, default=1.2)
  groups: Any | Callable[[_types.Params], Any] = None
  scope: Any | Callable[[_types.Params], Any] = None

  def __post_init__(self) -> None:
    super().__post_init__()
    _numbers.check_order(
      self._name_of('low'), self.low, self._name_of('high'), self.high
    )

  def assign(self, flat: _trees.Flat) -> list[Hashable]:
    """The group of each leaf of a flattened tree; None outside the scope."""
    inside = _trees.mask(self._name_of('scope'), self.scope, flat)
    labels: Sequence[Any] = [0] * len(flat.leaves)
    if self.groups is not None:
      labels = _trees.broadcast(self._name_of('groups'), self.groups, flat)
      for label in labels:
        self._check_label(label)
    # A tuple, so that no label of the user's is taken for "outside".
    return [
      (label,) if take else None
      for label, take in zip(labels, inside, strict=True)
    ]

  def _check_label(self, label: Any) -> None:
    try:
      hash(label)
    except TypeError:
      raise TypeError(
        f'{self._name_of("groups")} must be labels that can be hashed, such as '
        f'strings or numbers, got {label!r}.'
      ) from None

  def multipliers(
    self, log_ratios: Sequence[jax.Array | None], groups: Sequence[Hashable]
  ) -> list[jax.Array | None]:
    """The multiplier of each leaf.

    Args:
      log_ratios: ℓ of each leaf, an array with an entry for each slice of a
        stacked leaf; None where there is none.
      groups: the group of each leaf, None outside the scope.

    Returns:
      For each leaf a scalar, or None for 1.
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
    count = sum(map(_reductions.count, log_ratios))
    # Leaves of other dtypes than one another have such ℓ.
    dtype = _dtypes.promoted(*(each.dtype for each in log_ratios))
    total = sum(jnp.sum(each).astype(dtype) for each in log_ratios)
    mean = jnp.asarray(total) / count
    numbers = self.cast(mean.dtype)
    return jnp.clip(1 + numbers.gain * mean, numbers.low, numbers.high)


def log_ratio(tensor: _tensor.Tensor) -> jax.Array:
  """ℓ of one tensor, a scalar: the mean log ratio of α to α_grad."""
  eps = tensor.eps
  return tensor.mean(
    _derivatives.log_ratio(
      jnp.maximum(tensor.alpha, eps), jnp.maximum(tensor.alpha_gradient, eps)
    )
  )
