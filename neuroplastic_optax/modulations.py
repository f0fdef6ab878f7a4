"""Modulation rules: how the plasticity coefficient α acts on an update.

ALGORITHM, section 3 (Jiang et al., arXiv:2604.26297). Here b is the base's
update (the gradient g itself without a base) and s a strength:

  direct       u = α ⊙ b
  gain         u = b + limit(s·(α - 1) ⊙ b)
  momentum     u = b + limit(s·(α - 1) ⊙ m̂)
  trust ratio  u = b + limit(s·(α - 1)·(clip(‖θ‖/‖b‖, 0.5, 1.5) - 1) ⊙ b)
  orthogonal   u = b + the part of s·(α - α_grad) ⊙ b that is orthogonal to b

A rule of your own is a frozen dataclass with one method:

  >>> import dataclasses
  >>> import jax.numpy as jnp
  >>> import optax
  >>> from neuroplastic_optax import modulations, neuroplastic
  >>> @dataclasses.dataclass(frozen=True)
  ... class Signed(modulations.Modulation):
  ...   '''u = α ⊙ sign(b).'''
  ...
  ...   def modulate(self, tensor):
  ...     return tensor.alpha * jnp.sign(tensor.base_update)
  >>> tx = optax.chain(neuroplastic(modulation=Signed()), optax.scale(-0.1))
"""

import abc
from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _reductions
from neuroplastic_optax import _stage
from neuroplastic_optax import _trees

Scope = Any | Callable[[optax.Params], Any]

_TINY = 1e-12  # What the published program adds to the norms it divides by.


@dataclasses.dataclass(frozen=True)
class Tensor:
  """What a rule sees of one parameter tensor at one update.

  Arrays have the tensor's shape and are at least float32.

  Attributes:
    base_update: b.
    gradient: g.
    alpha: α, real; a scalar where there is one for the whole tensor.
    alpha_gradient: α_grad, likewise.
    parameter: θ, for rules that say `uses_parameter`; else None.
    momentum: m̂, for rules that say `uses_momentum`; else None.
    eps: ε, a scalar.
    reductions: the sums over all elements of the tensor.
    norm_scale: what `norm` divides by before it squares.
  """

  base_update: jax.Array
  gradient: jax.Array
  alpha: jax.Array
  alpha_gradient: jax.Array
  parameter: Any
  momentum: Any
  eps: _hyperparameters.Scalar
  reductions: _reductions.Reductions
  norm_scale: jax.Array

  def dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Σ x ⊙ y over the tensor, divided by `norm_scale`²: see `norm`."""
    return self.reductions.dot(
      x * (1 / self.norm_scale), y * (1 / self.norm_scale)
    )

  def norm(self, x: jax.Array) -> jax.Array:
    """‖x‖ over the tensor, where x² might overflow or vanish.

    Before they are squared, the elements are divided by a power of two, so
    that nothing else is rounded.
    """
    return jnp.sqrt(self.dot(x, x)) * self.norm_scale


class Modulation(_stage.Stage, abc.ABC):
  """A rule: the update of one tensor from its base update and α.

  Attributes:
    uses_parameter: whether `modulate` needs `tensor.parameter`.
    uses_momentum: whether it needs `tensor.momentum`.
    scope: which leaves the rule acts on; outside, u = b.
  """

  uses_parameter: ClassVar[bool] = False
  uses_momentum: ClassVar[bool] = False
  scope: Scope | None = None

  @abc.abstractmethod
  def modulate(self, tensor: Tensor) -> jax.Array:
    """The modulated update of one tensor.

    Args:
      tensor: the base update, the gradient and α. `self` has scalars for
        its numbers: schedules are resolved, and cast.

    Returns:
      u, of the shape and dtype of `tensor.base_update`. Sums over the tensor
      must go through `tensor.reductions`, `tensor.dot` or `tensor.norm`.
    """

  def in_scope(self, flat: _trees.Flat) -> list[bool]:
    """Which leaves of a flattened tree the rule acts on."""
    return _trees.mask(f'{self.label}scope', self.scope, flat)


@dataclasses.dataclass(frozen=True)
class Direct(Modulation):
  """The classic rule: u = α ⊙ b.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(modulation=modulations.Direct()), optax.scale(-0.1)
    ... )
  """

  def modulate(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    return tensor.alpha * tensor.base_update


class Residual(Modulation):
  """A rule of the form u = b + δ; with strength 0, u = b bit for bit.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.

  Examples:
    >>> import dataclasses
    >>> from typing import Any
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> @dataclasses.dataclass(frozen=True)
    ... class Damped(modulations.Residual):
    ...   strength: Any = 0.1
    ...
    ...   def residual(self, tensor):
    ...     return -self.strength * tensor.alpha * tensor.base_update
    >>> tx = neuroplastic(modulation=Damped())
  """

  strength: Any

  @abc.abstractmethod
  def residual(self, tensor: Tensor) -> jax.Array:
    """δ, of the shape and dtype of `tensor.base_update`."""

  def modulate(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    b, strength = tensor.base_update, self.strength
    if _hyperparameters.is_zero(strength):
      return b
    u = b + self.residual(tensor)
    # Not even the sign of a zero may change; nor may 0·∞ get in.
    return u if _hyperparameters.is_known(strength) else jnp.where(strength == 0, b, u)


def _limit(delta: jax.Array, max_ratio: Any, tensor: Tensor) -> jax.Array:
  """Scales δ by r‖b‖ / ‖δ‖ where ‖δ‖ > r‖b‖."""
  norm = tensor.norm(delta)
  bound = max_ratio * tensor.norm(tensor.base_update)
  return delta * jnp.where(norm > bound, bound / (norm + _TINY), 1.0)


@dataclasses.dataclass(frozen=True)
class Gain(Residual):
  """A gain: u = b + limit(s·(α - 1) ⊙ b).

  The published bounded residual is `Gain(strength=1.0, max_ratio=0.5)` without
  a base.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0: ‖u - b‖ is at most r‖b‖.
    scope: the leaves it acts on: a pytree of bools (prefixes allowed), or a
      callable of the params such as those of `scopes`; None for all.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(optax.scale_by_adam(), modulation=modulations.Gain()),
    ...   optax.scale(-1e-3),
    ... )
  """

  strength: Any = _stage.number(default=0.15, schedule=True)
  max_ratio: Any = _stage.number(default=0.25)
  scope: Scope | None = None

  def residual(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    delta = self.strength * (tensor.alpha - 1) * tensor.base_update
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class TrustRatio(Residual):
  """A gain times how the tensor's norm compares with its update's.

  u = b + limit(s·(α - 1)·(clip(‖θ‖/(‖b‖ + 1e-12), 0.5, 1.5) - 1) ⊙ b). It needs
  the params.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0: ‖u - b‖ is at most r‖b‖.
    scope: the leaves it acts on, as in `Gain`.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> rule = modulations.TrustRatio(strength=0.3)
    >>> tx = neuroplastic(optax.trace(decay=0.9), modulation=rule)
  """

  uses_parameter: ClassVar[bool] = True

  strength: Any = _stage.number(default=0.15, schedule=True)
  max_ratio: Any = _stage.number(default=0.25)
  scope: Scope | None = None

  def residual(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    b = tensor.base_update
    ratio = tensor.norm(tensor.parameter) / (tensor.norm(b) + _TINY)
    trust = jnp.clip(ratio, 0.5, 1.5) - 1
    delta = self.strength * (tensor.alpha - 1) * trust * b
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class Momentum(Residual):
  """Plasticity acts on the base's momentum: u = b + limit(s·(α - 1) ⊙ m̂).

  m̂ is found in the base's state by name: `trace` as it is, or `mu` with the
  bias correction of the base's own decay; also through `chain`, `masked`,
  `partition` and `inject_hyperparams`. A base without either is refused at
  `init`.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0: ‖u - b‖ is at most r‖b‖.
    scope: the leaves it acts on, as in `Gain`.
    momentum: a callable that takes the base's state after its update and
      returns m̂, a tree like the updates; None to find it.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(
    ...     optax.scale_by_adam(b1=0.95), modulation=modulations.Momentum()
    ...   ),
    ...   optax.scale(-1e-3),
    ... )
  """

  uses_momentum: ClassVar[bool] = True

  strength: Any = _stage.number(default=0.15, schedule=True)
  max_ratio: Any = _stage.number(default=0.25)
  scope: Scope | None = None
  momentum: Callable[[optax.OptState], optax.Updates] | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.momentum is not None and not callable(self.momentum):
      raise TypeError(
        'Momentum.momentum must be a callable of the state of the base, or '
        f'None, got {self.momentum!r}.'
      )

  def residual(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    delta = self.strength * (tensor.alpha - 1) * tensor.momentum
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class Orthogonal(Residual):
  """What the full coefficient adds, orthogonal to the base's update.

  p = (α - α_grad) ⊙ b. If ‖b‖² ≤ ε, δ = 0. Else
  q = p - (Σ p ⊙ b / (‖b‖² + ε))·b, with `match_gradient_norm` and ‖q‖ > ε
  scaled by ‖b‖/(‖q‖ + ε); δ = s·q, scaled by r‖b‖/(‖δ‖ + ε) where
  ‖δ‖ > r‖b‖; u = b + δ.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0: ‖u - b‖ is at most r‖b‖.
    match_gradient_norm: whether q gets the norm of b before s scales it.
    scope: the leaves it acts on, as in `Gain`.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> rule = modulations.Orthogonal(strength=0.7, match_gradient_norm=True)
    >>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))
  """

  strength: Any = _stage.number(default=0.1, schedule=True)
  max_ratio: Any = _stage.number(default=0.5)
  match_gradient_norm: bool = False
  scope: Scope | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if not isinstance(self.match_gradient_norm, bool):
      raise TypeError(
        'Orthogonal.match_gradient_norm must be True or False, got '
        f'{self.match_gradient_norm!r}.'
      )

  def residual(self, tensor: Tensor) -> jax.Array:
    """See the base class."""
    b, eps = tensor.base_update, tensor.eps
    p = (tensor.alpha - tensor.alpha_gradient) * b
    # Both sums are those of the formula, divided by the same square.
    square = tensor.dot(b, b)
    eps_scaled = eps / tensor.norm_scale / tensor.norm_scale
    q = p - tensor.dot(p, b) / (square + eps_scaled) * b
    base_norm, q_norm = tensor.norm(b), tensor.norm(q)
    if self.match_gradient_norm:
      factor = jnp.where(q_norm > eps, base_norm / (q_norm + eps), 1.0)
      q, q_norm = q * factor, q_norm * factor
    delta, norm = self.strength * q, self.strength * q_norm
    bound = self.max_ratio * base_norm
    delta *= jnp.where(norm > bound, bound / (norm + eps), 1.0)
    return jnp.where(square <= eps_scaled, 0.0, delta)
