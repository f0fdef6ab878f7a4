"""Modulation rules: how the plasticity coefficient α acts on an update.

Here b is the update of the base (the gradient g itself without a base), θ the
parameter, m̂ the momentum of the base and s a strength:

    Direct      u = α ⊙ b
    Gain        u = b + limit(s·(α - 1) ⊙ b)
    Momentum    u = b + limit(s·(α - 1) ⊙ m̂)
    TrustRatio  u = b + limit(s·(α - 1)·(clip(‖θ‖ / ‖b‖, 0.5, 1.5) - 1) ⊙ b)
    Orthogonal  u = b + the part of s·(α - α_grad) ⊙ b that is orthogonal to b

`limit(δ)` scales δ down so that its norm is at most a given fraction of ‖b‖.
Source: Jiang et al., arXiv:2604.26297.

You can write a rule of your own. It is a frozen dataclass that derives from
`Modulation` and has one method, `modulate`, or that derives from `Residual` and
has one method, `residual`. Each gets a `Tensor` and returns an array. This rule
keeps the norm of the base's update, so that α only shares it out differently:

>>> import dataclasses
>>> import jax.numpy as jnp
>>> import optax
>>> from neuroplastic_optax import modulations, neuroplastic
>>> @dataclasses.dataclass(frozen=True)
... class AtTheNormOfTheBase(modulations.Modulation):
...   '''u = α ⊙ b·‖b‖ / ‖α ⊙ b‖.'''
...
...   def modulate(self, tensor):
...     u = tensor.alpha * tensor.base_update
...     norm = tensor.norm(u)
...     norm = jnp.where(norm > 0, norm, 1.0)
...     return u * tensor.norm(tensor.base_update) / norm
>>> rule = AtTheNormOfTheBase()
>>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))

Use `number` for fields that hold numbers or schedules, and `switch` for fields
that hold True or False:

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
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from neuroplastic_optax import _derivatives
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _momentum
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax._numbers import number
from neuroplastic_optax._numbers import switch
from neuroplastic_optax._tensor import Tensor

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
  """

  uses_parameter: ClassVar[bool] = False
  uses_momentum: ClassVar[bool] = False
  scope: Scope | None = None

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

  def in_scope(self, flat: _trees.Flat) -> list[bool]:
    """Returns which leaves the rule acts on. The library calls this."""
    return _trees.mask(self._name_of('scope'), self.scope, flat)

  def check_base(
    self, base_state: _types.OptState, params: _trees.Flat, inside: list[bool]
  ) -> None:
    """Refuses a base that the rule cannot use. The library calls this at init.

    Args:
      base_state: the state of the base.
      params: the params.
      inside: which leaves are in the scope of the rule.

    Raises:
      ValueError: the rule uses momentum, and the state holds none, or more
        than one, for a leaf in its scope.
    """
    if self.uses_momentum and self.find_momentum(base_state) is None:
      _momentum.check(type(self).__name__, base_state, params, inside)

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

  def momenta(self, step: _momentum.Step) -> list[Any]:
    """Returns m̂ of every leaf. The library calls this at every update."""
    if not self.uses_momentum:
      return [None] * len(step.updates.leaves)
    found = self.find_momentum(step.new_state)
    if found is None:
      return _momentum.momenta(step)
    return step.updates.align('what find_momentum returned', found)


@dataclasses.dataclass(frozen=True)
class Direct(Modulation):
  """The classic rule: u = α ⊙ b.

  With `unit_mean`,

      u = α / mean(α) ⊙ b

  with the mean over the tensor (over each slice with stacked axes), so that the
  coefficients of a tensor have mean 1. α then says how the step is distributed
  over the elements, but not how long it is. Where the mean is at most ε, α is
  left as it is. For κ far above 1, α can be negative and its mean small; single
  steps can then be long. Diagnostics and the controller see α before the
  division.

  Attributes:
    unit_mean: whether α is first divided by its mean over the tensor.

  Examples:
    >>> import optax
    >>> from neuroplastic_optax import modulations, neuroplastic
    >>> tx = optax.chain(
    ...   neuroplastic(modulation=modulations.Direct()), optax.scale(-0.1)
    ... )
    >>> rule = modulations.Direct(unit_mean=True)
    >>> tx = optax.chain(neuroplastic(modulation=rule), optax.scale(-0.1))
  """

  unit_mean: bool = switch(default=False)

  def modulate(self, tensor: Tensor) -> jax.Array:
    """Returns α ⊙ b, or α / mean(α) ⊙ b."""
    alpha = tensor.alpha
    if self.unit_mean:
      mean = tensor.mean(alpha)
      alpha = alpha / jnp.where(mean > tensor.eps, mean, 1.0)
    return _dtypes.times(alpha, tensor.base_update)


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
    return _derivatives.unless_zero(strength, u, b)


def _limit(delta: jax.Array, max_ratio: Any, tensor: Tensor) -> jax.Array:
  """Scales δ by r‖b‖ / ‖δ‖ where ‖δ‖ > r‖b‖."""
  norm = tensor.norm(delta)
  bound = max_ratio * tensor.norm(tensor.base_update)
  return _dtypes.times(_shrinkage(norm, bound, _TINY), delta)


def _shrinkage(norm: jax.Array, bound: jax.Array, eps: Any) -> jax.Array:
  """bound / (norm + ε) where the norm is beyond the bound, else 1."""
  beyond = norm > bound
  # Both are infinite at once where everything overflows.
  bound = jnp.where(beyond, bound, 1.0)
  return jnp.where(beyond, _derivatives.divide(bound, norm + eps), 1.0)


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
    delta = _dtypes.times(gain, tensor.base_update)
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
    ratio = _derivatives.divide(
      tensor.norm(tensor.parameter), tensor.norm(b) + _TINY
    )
    trust = jnp.clip(ratio, 0.5, 1.5) - 1
    delta = _dtypes.times(self.strength * (tensor.alpha - 1) * trust, b)
    return _limit(delta, self.max_ratio, tensor)


@dataclasses.dataclass(frozen=True)
class Momentum(Residual):
  """Plasticity acts on the momentum m̂ of the base.

      δ = s·(α - 1) ⊙ m̂
      u = b + δ·min(1, r·‖b‖ / ‖δ‖)

  The rule finds m̂ in the state of the base by name: it is `trace` as it is, or
  `mu` with the bias correction of the base's own decay. This also works through
  `chain`, `masked`, `partition` and `inject_hyperparams`. `init` raises
  ValueError if the base has no momentum. Source: Jiang et al.,
  arXiv:2604.26297.

  Attributes:
    strength: s ≥ 0, or a schedule of the update count.
    max_ratio: r ≥ 0. ‖u - b‖ is at most r·‖b‖.
    scope: the leaves on which the rule acts, as in `Gain`.
    momentum: a callable that takes the state of the base after its update and
      returns m̂, a tree like the updates; None to find m̂ by name.

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

  strength: Any = number(default=0.15, low=0.0)
  max_ratio: Any = number(default=0.25, low=0.0, schedule=False)
  scope: Scope | None = None
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
    delta = _dtypes.times(gain, tensor.momentum)
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
    p = _dtypes.times(tensor.alpha - tensor.alpha_gradient, b)
    # The sums and ε of the formula, all divided by norm_scale².
    square = tensor.scaled_dot(b, b)
    eps_scaled = eps / tensor.norm_scale / tensor.norm_scale
    along = _derivatives.divide(tensor.scaled_dot(p, b), square + eps_scaled)
    q = p - _dtypes.times(along, b)
    base_norm, q_norm = tensor.norm(b), tensor.norm(q)
    if self.match_gradient_norm:
      matched = _derivatives.divide(base_norm, q_norm + eps)
      factor = jnp.where(q_norm > eps, matched, 1.0)
      q, q_norm = _dtypes.times(factor, q), q_norm * factor
    delta, norm = _dtypes.times(self.strength, q), self.strength * q_norm
    bound = self.max_ratio * base_norm
    delta = _dtypes.times(_shrinkage(norm, bound, eps), delta)
    return jnp.where(square <= eps_scaled, 0.0, delta)
