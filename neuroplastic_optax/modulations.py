"""Modulation rules: how the plasticity coefficient α acts on an update.

ALGORITHM, section 3 (Jiang et al., arXiv:2604.26297). Here b is the base's
update (the gradient g itself without a base). A rule of your own is a frozen
dataclass with one method:

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
import dataclasses

import jax

from neuroplastic_optax import _reductions
from neuroplastic_optax import _stage


@dataclasses.dataclass(frozen=True)
class Tensor:
  """What a rule sees of one parameter tensor at one update.

  Attributes:
    base_update: b, of the tensor's shape, at least float32.
    gradient: g, likewise.
    alpha: α, real, of the tensor's shape, or a scalar where there is one α
      for the whole tensor.
    alpha_gradient: α_grad, likewise.
    reductions: the sums over all elements of the tensor.
    norm_scale: what `norm` divides by before it squares.
  """

  base_update: jax.Array
  gradient: jax.Array
  alpha: jax.Array
  alpha_gradient: jax.Array
  reductions: _reductions.Reductions
  norm_scale: jax.Array

  def norm(self, x: jax.Array) -> jax.Array:
    """‖x‖ over all elements of the tensor, for any magnitude of x."""
    return self.reductions.norm(x, self.norm_scale)


class Modulation(_stage.Stage, abc.ABC):
  """A rule: the update of one tensor from its base update and α."""

  @abc.abstractmethod
  def modulate(self, tensor: Tensor) -> jax.Array:
    """The modulated update of one tensor.

    Args:
      tensor: the base update, the gradient and α. `self` has scalars for
        its numbers: schedules are resolved, and cast.

    Returns:
      u, of the shape and dtype of `tensor.base_update`. Sums over the tensor
      must go through `tensor.reductions` or `tensor.norm`.
    """


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
