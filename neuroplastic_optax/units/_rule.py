"""What a rule is, what it sees, and conditionals under `jax.vmap`."""

import abc
from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from neuroplastic_optax import _layers
from neuroplastic_optax import _numbers
from neuroplastic_optax.mechanisms import _leaves


@dataclasses.dataclass(frozen=True)
class Seen:
  """What a rule sees of one layer of H units at one update.

  Arrays are float32. Kernels are those after the update of the inner optimizer,
  before anything is recycled.

  Attributes:
    activations: h, of this batch, [n, H]; None for rules that do not use them.
    gradients: G, the raw gradients of the incoming kernels, [fan-in, H]: all
      axes but the last are one, and several kernels lie below one another.
    incoming: the incoming kernels, [fan-in, H].
    outgoing: the outgoing kernels, [rest, H, out]: `rest` is the repeat and the
      kernel's leading axes, and several kernels lie side by side.
    key: a JAX key, another for each layer and update.
    count: the number of updates before this one, int32.
  """

  activations: Any
  gradients: jax.Array
  incoming: jax.Array
  outgoing: jax.Array
  key: jax.Array
  count: jax.Array
  _axis_name: tuple[str, ...] | None = None

  def batch_mean(self, x: jax.Array) -> jax.Array:
    """The mean of x, [n, H], over the batch, also where that is split."""
    mean = _leaves.mean(x, (0,))
    return jax.lax.pmean(mean, self._axis_name) if self._axis_name else mean

  def batch_any(self, x: jax.Array) -> jax.Array:
    """Whether x, bools [n, H], holds for any example of the batch."""
    some = jnp.any(x, axis=0)
    if not self._axis_name:
      return some
    return jax.lax.pmax(some.astype(jnp.int32), self._axis_name) > 0


class Rule(_numbers.Stage, abc.ABC):
  """The base class of rules: which share of each unit is recycled.

  A rule of your own is a frozen dataclass that derives from this class. Fields
  that hold numbers are made by `modulations.number`; other fields are static.

  Attributes:
    every: at which updates `choose` is called, unless `recycle` is told; a
      class attribute, as are all here.
    uses_activations: whether `seen.activations` is needed.
    keeps_vectors: whether the vectors of a layer are left alone.
    keeps_moments: whether the state of the inner optimizer is left alone.

  Examples:
    >>> import dataclasses
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import modulations, units
    >>> @dataclasses.dataclass(frozen=True)
    ... class Weak(units.Rule):
    ...   '''Recycles the units with small outgoing weights.'''
    ...
    ...   threshold: float = modulations.number(default=1e-3, low=0.0)
    ...
    ...   def choose(self, state, seen):
    ...     size = jnp.abs(seen.outgoing).mean((0, 2))
    ...     return (size < self.threshold).astype(size.dtype), state
    >>> params = {'a': jnp.ones((3, 4)), 'b': jnp.ones((4, 2))}
    >>> layers = units.chain(params, ['a', 'b'])
    >>> tx = units.recycle(optax.adam(1e-3), layers, Weak(), every=100)
  """

  every: ClassVar[int] = 1
  uses_activations: ClassVar[bool] = False
  keeps_vectors: ClassVar[bool] = False
  keeps_moments: ClassVar[bool] = False

  def init(self, layer: _layers.Layer, size: int) -> Any:
    """The state for one layer of `size` units: a tree of arrays."""
    del layer, size
    return ()

  def observe(self, state: Any, seen: Seen) -> Any:
    """The state after an update, called at every one."""
    del seen
    return state

  @abc.abstractmethod
  def choose(self, state: Any, seen: Seen) -> tuple[jax.Array, Any]:
    """The share r in [0, 1] of each unit, [H], and the state after that.

    It is called behind `observe`, when it is time.
    """


@jax.custom_batching.custom_vmap
def any_lane(condition: jax.Array) -> jax.Array:
  """Whether a condition holds in any lane of `jax.vmap`.

  It keeps a conditional one under `vmap`, where it would become a choice whose
  both sides are paid at every update.
  """
  return condition


@any_lane.def_vmap
def _any_lane(
  axis_size: int, in_batched: list[bool], condition: jax.Array
) -> tuple[jax.Array, bool]:
  del axis_size, in_batched
  return any_lane(jnp.any(condition)), False


def when_any(condition: jax.Array, act: Callable[[], Any], kept: Any) -> Any:
  """`act()` where the condition holds, else `kept`."""

  def acted() -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), act(), kept)

  return jax.lax.cond(any_lane(condition), acted, lambda: kept)
