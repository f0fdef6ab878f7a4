"""Modulation rules: how the plasticity coefficient α acts on an update.

Here b is the update of the base (the gradient g itself without a base), θ the
parameter, m̂ the momentum of the base and s a strength:

    Direct      u = α ⊙ b, at the mean or norm of b on request
    Gain        u = b + limit(s·(α - 1) ⊙ b)
    Momentum    u = b + limit(s·(α - 1) ⊙ m̂)
    TrustRatio  u = b + limit(s·(α - 1)·(clip(‖θ‖ / ‖b‖, 0.5, 1.5) - 1) ⊙ b)
    Orthogonal  u = b + the part of s·(α - α_grad) ⊙ b that is orthogonal to b

`limit(δ)` scales δ down so that its norm is at most a given fraction of ‖b‖.
Source: Jiang et al., arXiv:2604.26297.

You can write a rule of your own. It is a frozen dataclass that derives from
`Modulation` and has one method, `modulate`, or that derives from `Residual` and
has one method, `residual`. Each gets a `Tensor` and returns an array. Use
`number` for fields that hold numbers or schedules, and `switch` for fields that
hold True or False:

>>> import dataclasses
>>> import jax.numpy as jnp
>>> import optax
>>> from neuroplastic_optax import modulations, neuroplastic
>>> @dataclasses.dataclass(frozen=True)
... class Signed(modulations.Residual):
...   '''u = b + s·α·‖b‖/√n ⊙ sign(b).'''
...
...   strength: optax.ScalarOrSchedule = modulations.number(
...     default=0.1, low=0.0
...   )
...
...   def residual(self, tensor):
...     b = tensor.base_update
...     rms = jnp.sqrt(tensor.mean(b**2))
...     return self.strength * tensor.alpha * rms * jnp.sign(b)
>>> rule = Signed(strength=optax.linear_schedule(0.0, 0.1, 1000))
>>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))
"""

import abc
from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax._numbers import number
from neuroplastic_optax._numbers import switch

# In the order of the API reference.
__all__ = (  # noqa: RUF022
  'Direct',
  'Gain',
  'Momentum',
  'TrustRatio',
  'Orthogonal',
  'Modulation',
  'Residual',
  'Tensor',
  'number',
  'switch',
)
__docformat__ = 'google'

Scope = Any | Callable[[_types.Params], Any]

_TINY = 1e-12  # What the published program adds to the norms it divides by.


@dataclasses.dataclass(frozen=True)
class Tensor:
  """What a rule sees of one parameter tensor at one update.

  Arrays have the shape of the tensor and are at least float32. The methods are
  sums over the whole tensor, also where it is split over devices inside
  `shard_map`; with stacked axes, a tensor is one slice. They take arrays of
  the tensor's shape, or scalars, which stand for a tensor of equal elements.

  Attributes:
    base_update: b, the update of the base; g without a base.
    gradient: g, the raw gradient.
    alpha: α, real; a scalar where there is one α for the whole tensor.
    alpha_gradient: α_grad, of the same shape as α.
    parameter: θ for rules with `uses_parameter = True`. For other rules it may
      be None.
    momentum: m̂ for rules with `uses_momentum = True`, else None.
    eps: ε, a scalar.
  """

  base_update: jax.Array
  gradient: jax.Array
  alpha: jax.Array
  alpha_gradient: jax.Array
  parameter: Any
  momentum: Any
  eps: _numbers.Scalar
  _sums: _arrays.Sums

  def sum(self, x: jax.Array) -> jax.Array:
    """Returns Σ x over the tensor, a scalar of x's dtype."""
    return self._sums.sum(self.filled(x))

  def mean(self, x: jax.Array) -> jax.Array:
    """Returns the mean of x over the tensor, a scalar of x's dtype."""
    return self._sums.mean(self.filled(x))

  def dot(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns Σ x ⊙ y over the tensor, a real scalar.

    For complex arrays this is the real part of Σ x̄ ⊙ y. Products that are too
    large or too small for the dtype overflow or vanish; `norm` avoids that.
    """
    return self._sums.dot(self.filled(x), y)

  def norm(self, x: jax.Array) -> jax.Array:
    """Returns ‖x‖ over the tensor, a real scalar.

    Squares neither overflow nor vanish for magnitudes from 1e-30 to 1e30 that
    are near that of the gradient or near 1: the elements are divided by a power
    of two before they are squared, which rounds nothing. The derivative is 0
    where the norm is.
    """
    return self._sums.norm(self.filled(x))

  def filled(self, x: jax.Array) -> jax.Array:
    """Returns x, or a tensor that is x everywhere where x is a scalar."""
    return jnp.broadcast_to(x, self.base_update.shape)


class Modulation(_numbers.Stage, abc.ABC):
  """The base class of rules: the update of one tensor, given b and α.

  A subclass is a frozen dataclass and defines `modulate`. Its fields made by
  `number` and `switch` are checked when it is built; a subclass with a
  `__post_init__` of its own must call that of its base class. All other fields
  are static.

  Attributes:
    uses_parameter: whether `modulate` needs `tensor.parameter`; a class
      attribute.
    uses_momentum: whether `modulate` needs `tensor.momentum`; a class
      attribute.
    scope: the leaves the rule acts on: a pytree of bools (prefixes allowed) or
      a callable of the params; None for all. On the other leaves, u = b. A
      subclass can make this a field.
    decay: β₁ of the base, for the bias correction of a momentum `mu`. A
      subclass can make this a field.
  """

  uses_parameter: ClassVar[bool] = False
  uses_momentum: ClassVar[bool] = False
  scope: Scope | None = None
  decay: Any = 0.9

  @abc.abstractmethod
  def modulate(self, tensor: Tensor) -> jax.Array:
    """Returns the modulated update of one tensor.

    Args:
      tensor: the base update, the gradient and α. The numbers of `self` are
        scalars: schedules are replaced by their values.

    Returns:
      u, of the shape and dtype of `tensor.base_update`. Sums over the tensor
      must use the methods of `tensor`, so that they are right however the
      tensor is sharded or stacked.
    """

  def find_momentum(self, base_state: _types.OptState) -> Any:
    """Returns the momentum of the base, for a rule with `uses_momentum`.

    A rule of your own can override it, for a base whose momentum is not found
    by name.

    Args:
      base_state: the state of the base, at init and after every update.

    Returns:
      A tree like the updates; None to have it found by name, as in `Momentum`.
    """
    del base_state
    return None


@dataclasses.dataclass(frozen=True)
class Direct(Modulation):
  """The classic rule: u = α ⊙ b.

  With `normalize`, α only says how a step is distributed over the elements of a
  tensor (of a slice with stacked axes), but not how long it is:

      'mean'   u = α / mean(α) ⊙ b
      'norm'   u = α ⊙ b·‖b‖ / ‖α ⊙ b‖

  With "norm" the learning rate of the base keeps its meaning. Where α ⊙ b is 0,
  so is u. With "mean", α is left as it is where its mean is at most ε. For κ
  far above 1, α can be negative and its mean small; single steps can then be
  long. Diagnostics and the controller see α before it is normalized.

  Attributes:
    normalize: None, "mean" or "norm".

  Raises:
    ValueError: `normalize` is something else.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(modulation=modulations.Direct()), optax.scale(-0.1)
    ... )
    >>> rule = modulations.Direct(normalize='norm')
    >>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))
  """

  normalize: Literal['mean', 'norm'] | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    _numbers.check_choice(
      'Direct.normalize', self.normalize, ('mean', 'norm'), optional=True
    )

  def modulate(self, tensor: Tensor) -> jax.Array:
    """Returns α ⊙ b, normalized."""
    alpha, b = tensor.alpha, tensor.base_update
    if self.normalize == 'mean':
      mean = tensor.mean(alpha)
      alpha = alpha / jnp.where(mean > tensor.eps, mean, 1.0)
    u = _arrays.times(alpha, b)
    if self.normalize == 'norm':
      norm = tensor.norm(u)
      norm = jnp.where(norm > 0, norm, 1.0)
      u = _arrays.times(_arrays.divide(tensor.norm(b), norm), u)
    return u


class Residual(Modulation):
  """The base class of rules u = b + δ; with strength 0, u = b bit for bit.

  A subclass is a frozen dataclass and defines `residual`.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count. `residual` multiplies
      by it.

  Examples:
    >>> import dataclasses
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> @dataclasses.dataclass(frozen=True)
    ... class Damped(modulations.Residual):
    ...   '''u = b - s·α ⊙ b.'''
    ...
    ...   strength: optax.ScalarOrSchedule = modulations.number(
    ...     default=0.1, low=0.0
    ...   )
    ...
    ...   def residual(self, tensor):
    ...     return -self.strength * tensor.alpha * tensor.base_update
    >>> tx = neuroplastic(
    ...   modulation=Damped(optax.linear_schedule(0.0, 0.1, 10))
    ... )
  """

  strength: Any

  @abc.abstractmethod
  def residual(self, tensor: Tensor) -> jax.Array:
    """Returns δ, of the shape and dtype of `tensor.base_update`."""

  def modulate(self, tensor: Tensor) -> jax.Array:
    """Returns b + δ, or b itself where the strength is 0."""
    b, strength = tensor.base_update, self.strength
    if _numbers.is_zero(strength):
      return b
    u = b + self.residual(tensor)
    # Not even the sign of a zero may change; nor may 0·∞ get in.
    if _numbers.is_known(strength):
      return u
    return _arrays.unless_zero(strength, u, b)


def _limit(delta: jax.Array, max_ratio: Any, tensor: Tensor) -> jax.Array:
  """Scales δ by r‖b‖ / ‖δ‖ where ‖δ‖ > r‖b‖."""
  norm = tensor.norm(delta)
  bound = max_ratio * tensor.norm(tensor.base_update)
  return _arrays.times(_shrinkage(norm, bound, _TINY), delta)


def _shrinkage(norm: jax.Array, bound: jax.Array, eps: Any) -> jax.Array:
  """bound / (norm + ε) where the norm is beyond the bound, else 1."""
  beyond = norm > bound
  # Both are infinite at once where everything overflows.
  bound = jnp.where(beyond, bound, 1.0)
  return jnp.where(beyond, _arrays.divide(bound, norm + eps), 1.0)


@dataclasses.dataclass(frozen=True)
class Gain(Residual):
  """Amplifies the update where α > 1 and damps it where α < 1.

      δ = s·(α - 1) ⊙ b
      u = b + δ·min(1, r·‖b‖ / ‖δ‖)

  The published bounded residual is `Gain(strength=1.0, max_ratio=0.5)` without
  a base. Source: Jiang et al., arXiv:2604.26297.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0. ‖u - b‖ is at most r·‖b‖.
    scope: the leaves on which the rule acts: a pytree of bools (prefixes
      allowed) or a callable of the params such as those of `scopes`; None for
      all leaves.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(optax.scale_by_adam(), modulation=modulations.Gain()),
    ...   optax.scale(-1e-3),
    ... )
  """

  strength: Any = number(default=0.15, low=0.0)
  max_ratio: Any = number(default=0.25, low=0.0, schedule=False)
  scope: Scope | None = None

  def residual(self, tensor: Tensor) -> jax.Array:
    """Returns δ: limit(s·(α - 1) ⊙ b)."""
    gain = self.strength * (tensor.alpha - 1)
    delta = _arrays.times(gain, tensor.base_update)
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class TrustRatio(Residual):
  """A gain that depends on the ratio of the norms of parameter and update.

      δ = s·(α - 1)·(clip(‖θ‖ / (‖b‖ + 1e-12), 0.5, 1.5) - 1) ⊙ b
      u = b + δ·min(1, r·‖b‖ / ‖δ‖)

  The rule needs the params: pass them to `update`. Source: Jiang et al.,
  arXiv:2604.26297.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0. ‖u - b‖ is at most r·‖b‖.
    scope: the leaves on which the rule acts, as in `Gain`.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> rule = modulations.TrustRatio(strength=0.3)
    >>> tx = neuroplastic(optax.trace(decay=0.9), modulation=rule)
  """

  uses_parameter: ClassVar[bool] = True

  strength: Any = number(default=0.15, low=0.0)
  max_ratio: Any = number(default=0.25, low=0.0, schedule=False)
  scope: Scope | None = None

  def residual(self, tensor: Tensor) -> jax.Array:
    """Returns δ: the limited gain times the trust ratio less 1."""
    b = tensor.base_update
    ratio = _arrays.divide(
      tensor.norm(tensor.parameter), tensor.norm(b) + _TINY
    )
    trust = jnp.clip(ratio, 0.5, 1.5) - 1
    delta = _arrays.times(self.strength * (tensor.alpha - 1) * trust, b)
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class Momentum(Residual):
  """Plasticity acts on the momentum m̂ of the base.

      δ = s·(α - 1) ⊙ m̂
      u = b + δ·min(1, r·‖b‖ / ‖δ‖)

  The rule finds m̂ in the state of the base by name: it is `trace` as it is, or
  `mu / (1 - decayᵗ)`, where t is the `count` beside it, or the `age` of each
  element, as in `units.scale_by_adam`. This also works through `chain`,
  `masked`, `partition` and `inject_hyperparams`. `init` raises
  ValueError if the base has no momentum. Source: Jiang et al.,
  arXiv:2604.26297.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0. ‖u - b‖ is at most r·‖b‖.
    scope: the leaves on which the rule acts, as in `Gain`.
    decay: β₁ of the base, in [0, 1): give it where it is not 0.9. A state with
      `mu` does not hold it.
    momentum: a callable that takes the state of the base after its update and
      returns m̂, a tree like the updates; None to find m̂ by name.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(
    ...     optax.scale_by_adam(b1=0.95),
    ...     modulation=modulations.Momentum(decay=0.95),
    ...   ),
    ...   optax.scale(-1e-3),
    ... )
  """

  uses_momentum: ClassVar[bool] = True

  strength: Any = number(default=0.15, low=0.0)
  max_ratio: Any = number(default=0.25, low=0.0, schedule=False)
  scope: Scope | None = None
  decay: Any = number(
    default=0.9, low=0.0, high=1.0, high_open=True, schedule=False
  )
  momentum: Callable[[_types.OptState], _types.Updates] | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.momentum is not None and not callable(self.momentum):
      raise TypeError(
        'Momentum.momentum must be a callable of the state of the base, or '
        f'None, got {self.momentum!r}.'
      )

  def find_momentum(self, base_state: _types.OptState) -> Any:
    """Returns what `momentum` returns, if it is given."""
    return None if self.momentum is None else self.momentum(base_state)

  def residual(self, tensor: Tensor) -> jax.Array:
    """Returns δ: limit(s·(α - 1) ⊙ m̂)."""
    gain = self.strength * (tensor.alpha - 1)
    delta = _arrays.times(gain, tensor.momentum)
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class Orthogonal(Residual):
  """Adds what α changes beyond α_grad, orthogonal to the update of the base.

      p = (α - α_grad) ⊙ b
      q = p - (Σ p ⊙ b / (‖b‖² + ε))·b
      q ← q·‖b‖ / (‖q‖ + ε)              if match_gradient_norm and ‖q‖ > ε
      δ = s·q                            0 if ‖b‖² ≤ ε
      δ ← δ·r·‖b‖ / (‖δ‖ + ε)            if ‖δ‖ > r·‖b‖
      u = b + δ

  Source: Jiang et al., arXiv:2604.26297, where b is the gradient.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0. ‖u - b‖ is at most r·‖b‖.
    match_gradient_norm: whether q is scaled to the norm of b before s scales
      it.
    scope: the leaves on which the rule acts, as in `Gain`.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> rule = modulations.Orthogonal(strength=0.7, match_gradient_norm=True)
    >>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))
  """

  strength: Any = number(default=0.1, low=0.0)
  max_ratio: Any = number(default=0.5, low=0.0, schedule=False)
  match_gradient_norm: bool = switch(default=False)
  scope: Scope | None = None

  def residual(self, tensor: Tensor) -> jax.Array:
    """Returns δ: the limited orthogonal part."""
    b, eps = tensor.base_update, tensor.eps
    p = _arrays.times(tensor.alpha - tensor.alpha_gradient, b)
    # The sums and ε of the formula, all divided by scale².
    sums = tensor._sums
    square = sums.scaled_dot(b, b)
    eps_scaled = eps / sums.scale / sums.scale
    along = _arrays.divide(sums.scaled_dot(p, b), square + eps_scaled)
    q = p - _arrays.times(along, b)
    base_norm, q_norm = tensor.norm(b), tensor.norm(q)
    if self.match_gradient_norm:
      matched = _arrays.divide(base_norm, q_norm + eps)
      factor = jnp.where(q_norm > eps, matched, 1.0)
      q, q_norm = _arrays.times(factor, q), q_norm * factor
    delta, norm = _arrays.times(self.strength, q), self.strength * q_norm
    bound = self.max_ratio * base_norm
    delta = _arrays.times(_shrinkage(norm, bound, eps), delta)
    return jnp.where(square <= eps_scaled, 0.0, delta)
