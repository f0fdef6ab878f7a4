"""The learning-rate controller: a multiplier of the step from what α says.

ALGORITHM, section 6 (Jiang et al., arXiv:2604.26297). Per leaf

  ℓ = mean(log(max(α, ε) / max(α_grad, ε))), entries not finite counted as 0;

a group's signal is the plain average of its leaves' ℓ, its multiplier
clip(1 + γ·signal, low, high).
"""

from collections.abc import Callable, Hashable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _stage
from neuroplastic_optax import _trees
from neuroplastic_optax import modulations


@dataclasses.dataclass(frozen=True)
class LearningRateController(_stage.Stage):
  """Multiplies the update of each group of leaves by what its α says.

  It multiplies what `neuroplastic` returns, not a decay chained after it. In
  gradient-only mode every multiplier is 1.

  Attributes:
    gain: γ ≥ 0.
    low: the smallest multiplier, ≥ 0.
    high: the largest, ≥ low.
    groups: a label for each leaf: a pytree (prefixes allowed) or a callable of
      the params, as in `optax.partition`. A group has one multiplier, which the
      slices of a stacked leaf share; None for one group of all leaves.
    scope: which leaves take part: a pytree of bools (prefixes allowed) or a
      callable of the params; the others, and empty ones, keep 1. None for all.

  Raises:
    TypeError: a value of the wrong type.
    ValueError: a Python or NumPy number out of range.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import LearningRateController, neuroplastic
    >>> from neuroplastic_optax import scopes
    >>> controller = LearningRateController(gain=0.5, scope=scopes.classifier())
    >>> tx = optax.chain(neuroplastic(controller=controller), optax.scale(-0.1))
  """

  gain: Any = _stage.number(default=0.1)
  low: Any = _stage.number(default=0.8)
  high: Any = _stage.number(default=1.2)
  groups: Any | Callable[[optax.Params], Any] = None
  scope: Any | Callable[[optax.Params], Any] = None

  def __post_init__(self) -> None:
    super().__post_init__()
    _hyperparameters.check_order(
      f'{self.label}low', self.low, f'{self.label}high', self.high
    )

  def labels(self, flat: _trees.Flat) -> list[Hashable]:
    """The group of each leaf of a flattened tree; None outside the scope."""
    inside = _trees.mask(f'{self.label}scope', self.scope, flat)
    groups: Sequence[Any] = [0] * len(flat.leaves)
    if self.groups is not None:
      groups = _trees.broadcast(f'{self.label}groups', self.groups, flat)
    # A tuple, so that no label of the user's is taken for "outside".
    return [
      (group,) if take else None
      for group, take in zip(groups, inside, strict=True)
    ]

  def multipliers(
    self, signals: Sequence[jax.Array | None], labels: Sequence[Hashable]
  ) -> list[jax.Array | None]:
    """The multiplier of each leaf.

    Args:
      signals: ℓ of each leaf, an array with an entry for each slice of a
        stacked leaf; None where there is none.
      labels: the group of each leaf, None outside the scope.

    Returns:
      For each leaf a scalar, or None for 1.
    """
    members: dict[Hashable, list[jax.Array]] = {}
    for signal, label in zip(signals, labels, strict=True):
      if signal is not None and label is not None:
        members.setdefault(label, []).append(signal)
    multiplier = {}
    for label, found in members.items():
      count = sum(signal.size for signal in found)
      mean = jnp.asarray(sum(jnp.sum(signal) for signal in found)) / count
      numbers = self.cast(mean.dtype)
      multiplier[label] = jnp.clip(
        1 + numbers.gain * mean, numbers.low, numbers.high
      )
    return [
      None if signal is None else multiplier.get(label)
      for signal, label in zip(signals, labels, strict=True)
    ]


def log_ratio(tensor: modulations.Tensor) -> jax.Array:
  """ℓ of one tensor, a scalar: the mean log ratio of α to α_grad."""
  eps = tensor.eps
  ratio = jnp.maximum(tensor.alpha, eps) / jnp.maximum(
    tensor.alpha_gradient, eps
  )
  logs = jnp.log(ratio)
  logs = jnp.where(jnp.isfinite(logs), logs, 0.0)
  return tensor.reductions.mean(
    jnp.broadcast_to(logs, tensor.base_update.shape)
  )
