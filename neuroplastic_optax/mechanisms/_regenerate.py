"""L2 Init: weights are pulled back to where they began."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class RegenerateState(NamedTuple):
  """The state of `regenerate`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    anchor: w₀, a copy of the params at `init`, at least float32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  anchor: _types.Params


def regenerate(
  strength: _types.ScalarOrSchedule = 1e-3,
  norm: Literal['l2', 'l1'] = 'l2',
) -> optax.GradientTransformationExtraArgs:
  """Pulls the params back to their initial values.

  Use it against loss of plasticity in long training on changing data: weights
  that the loss does not hold go back to where learning was easy. It is weight
  decay towards w₀, the params at `init`, instead of towards 0. With w the
  params and g the raw gradient,

      u = g + λ·(w - w₀)         norm="l2": the gradient of λ/2·‖w - w₀‖²
      u = g + λ·sign(w - w₀)     norm="l1": that of λ·‖w - w₀‖₁

  It belongs on the raw gradient, first in a chain. Behind Adam's normalisation
  it means something else: a decoupled pull, as AdamW's decay is.

  Args:
    strength: λ ≥ 0, a number or a schedule of the update count. For "l2" it is
      twice the coefficient of ‖w - w₀‖² in a loss.
    norm: "l2" or "l1".

  Returns:
    A gradient transformation, whose state is a `RegenerateState`. Its `update`
    needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, `norm` is unknown, or
      `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.regenerate(strength=0.1)
    >>> state = tx.init(jnp.array([1.0]))
    >>> updates, _ = tx.update(jnp.array([0.0]), state, jnp.array([3.0]))
    >>> print(updates)
    [0.2]

  References:
    Kumar et al., `Maintaining Plasticity in Continual Learning via Regenerative
    Regularization <https://arxiv.org/abs/2308.11958>`_, 2023
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled),
  )
  _numbers.check_choice('norm', norm, ('l2', 'l1'))

  def init_fn(params: _types.Params) -> RegenerateState:
    flat = _leaves.flatten('regenerate', 'params', params)
    return RegenerateState(jnp.zeros([], jnp.int32), _leaves.copies(flat))

  def update_fn(
    updates: _types.Updates,
    state: RegenerateState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, RegenerateState]:
    del extra_args
    flat = _leaves.flatten('regenerate', 'updates', updates)
    weights = _leaves.params_of('regenerate', flat, params)

    def step(now: _numbers.Numbers, g: Any, w: Any, anchor: Any) -> tuple[Any]:
      # Subtracted as it is, then held: a difference may overflow.
      moved = w - anchor
      pull = jnp.sign(moved) if norm == 'l1' else _leaves.finite(moved)
      return (_leaves.added(g, now.strength, pull),)

    leaves, _ = _leaves.advance(
      step,
      numbers.at(state.count),
      flat.leaves,
      reads=[weights, flat.align('state.anchor', state.anchor)],
    )
    return flat.unflatten(leaves), RegenerateState(
      optax.safe_increment(state.count), state.anchor
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
