"""Consolidation without task boundaries: weights are pulled to their mean."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class AddConsolidationState(NamedTuple):
  """The state of `add_consolidation`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    anchor: w̄, the average of the params, bias-corrected: a tree like the
      params, at least float32.
    importance: F, the average of g² or |g|, bias-corrected: a tree like the
      params, at least float32.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  anchor: _types.Params
  importance: _types.Updates


def add_consolidation(
  strength: _types.ScalarOrSchedule = 0.01,
  importance: Literal['ewc', 'mas'] = 'ewc',
  anchor_decay: _types.ArrayLike = 0.999,
  importance_decay: _types.ArrayLike = 0.999,
) -> optax.GradientTransformationExtraArgs:
  """Pulls important weights back to their running mean.

  Use it where the data change and nobody says when, to slow forgetting. Where
  boundaries between tasks are known, `elastic_weight_consolidation` and
  `synaptic_intelligence` use them. With w the params and g the raw gradient,

      w̄ ← average of w            over about 1 / (1 - anchor_decay) updates
      F ← average of g², or |g|    over about 1 / (1 - importance_decay)
      u = g + λ·F ⊙ (w - w̄)

  Both averages are exponential, bias-corrected, and updated before they are
  used: at the first update w̄ = w, and u = g. This is the task-free form in
  which the authors of UPGD ran elastic weight consolidation (EWC, with g²) and
  memory-aware synapses (MAS, with |g|).

  It belongs on the raw gradient, first in a chain. Before Adam, which divides
  by the size of the sum, the strength has to be seen beside the gradient: where
  gradients are small, so is F, and most of all with g². After
  `optax.scale_by_adam` the term would not be normalised with the gradient, and
  F would measure Adam's updates: that is another method.

  Args:
    strength: λ ≥ 0, a number or a schedule of the update count.
    importance: "ewc" for g², or "mas" for |g|.
    anchor_decay: the decay of w̄, in [0, 1).
    importance_decay: the decay of F, in [0, 1).

  Returns:
    A gradient transformation, whose state is an `AddConsolidationState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, `importance` is
      unknown, or `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.add_consolidation(strength=1.0, anchor_decay=0.5)
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> for g in (2.0, 0.0):  # The gradient vanishes, the pull stays.
    ...   updates, state = tx.update(jnp.array([g]), state, params)
    ...   params = optax.apply_updates(params, -0.1 * updates)
    ...   print(f'{updates[0]:.2f}')
    2.00
    -0.13

  References:
    Elsayed and Mahmood, `Addressing Loss of Plasticity and Catastrophic
    Forgetting in Continual Learning <https://arxiv.org/abs/2404.00781>`_, 2024
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled),
    anchor_decay=(anchor_decay, _numbers.DECAY),
    importance_decay=(importance_decay, _numbers.DECAY),
  )
  _numbers.check_choice('importance', importance, ('ewc', 'mas'))

  def init_fn(params):
    leaves = _leaves.flatten('add_consolidation', 'params', params)
    return AddConsolidationState(
      jnp.zeros([], jnp.int32), leaves.copies(), leaves.zeros()
    )

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('add_consolidation', updates, params)
    t = optax.safe_increment(state.count)

    def step(now, g, w, anchor, weight):
      rate = _leaves.debiased_rate(now.anchor_decay, t, g.dtype)
      anchor = _leaves.finite(anchor + rate * (w - anchor))
      seen = _leaves.product(g, g) if importance == 'ewc' else jnp.abs(g)
      rate = _leaves.debiased_rate(now.importance_decay, t, g.dtype)
      weight = _leaves.finite(weight + rate * (seen - weight))
      pull = _leaves.product(weight, w - anchor)
      return _leaves.added(g, now.strength, pull), anchor, weight

    updates, kept = leaves.map(
      step,
      numbers.at(state.count),
      keeps=[state.anchor, state.importance],
    )
    return updates, AddConsolidationState(t, *kept)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
