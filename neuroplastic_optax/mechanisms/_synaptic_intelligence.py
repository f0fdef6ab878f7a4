"""Synaptic intelligence: importance from the path of training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class SynapticIntelligenceState(NamedTuple):
  """The state of `synaptic_intelligence`: five trees like the params.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    path: ω, the path integral in the present task; at least float32, as are the
      other trees.
    importance: Ω.
    anchor: w*, the params at the last boundary; before one, those at `init`.
    previous: the params at the last update; before one, those at `init`.
    gradient: the raw gradient of the last update; 0 before one.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  path: _types.Updates
  importance: _types.Updates
  anchor: _types.Params
  previous: _types.Params
  gradient: _types.Updates


def synaptic_intelligence(
  strength: _types.ScalarOrSchedule = 1.0,
  damping: _types.ScalarOrSchedule = 0.1,
) -> optax.GradientTransformationExtraArgs:
  """Keeps weights by what they contributed to the fall of the loss.

  Use it as `elastic_weight_consolidation`, for a sequence of tasks whose
  boundaries are known. It costs five copies of the params in memory. With w the
  params, g the raw gradient, and Δw what the params have moved since the last
  update, by whatever moved them,

      ω ← ω - g_last ⊙ Δw

  at every update, where g_last is the raw gradient of the last update. Then at
  a boundary, before its update,

      Ω ← Ω + max(ω, 0) / ((w - w*)² + ξ),   w* ← w,   ω ← 0

  and at every update

      u = g + λ·Ω ⊙ (w - w*)

  The authors' penalty is c·Ω·(w - w*)², so that λ is 2c. They clip the sum
  Ω + ω / ((w - w*)² + ξ) at 0, not each ω, with a ξ of 0.1 or 0.001.

  It belongs on the raw gradient, first in a chain; behind Adam's normalisation
  it means something else. `new_task` is an extra argument of `update`, a bool
  or a bool array, said with the first update of a new task. It is ignored at
  the very first update. A boundary said in a mini-step that `optax.MultiSteps`
  does not emit, or in a step that `optax.apply_if_finite` rejects, is lost.

  Args:
    strength: λ ≥ 0, a number or a schedule of the update count.
    damping: ξ > 0, a number or a schedule, which bounds Ω where a weight has
      hardly moved.

  Returns:
    A gradient transformation, whose state is a `SynapticIntelligenceState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `update` is called
      without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.synaptic_intelligence(damping=1.0)
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> _, state = tx.update(jnp.array([2.0]), state, params)
    >>> params -= 1.0  # ω becomes 2.
    >>> updates, state = tx.update(
    ...   jnp.array([0.0]), state, params, new_task=True
    ... )
    >>> updates, state = tx.update(jnp.array([0.0]), state, params + 0.5)
    >>> print(updates)  # 2 / (1 + 1) · 0.5
    [0.5]

  References:
    Zenke et al., `Continual Learning Through Synaptic Intelligence
    <https://arxiv.org/abs/1703.04200>`_, 2017
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled),
    damping=(damping, _numbers.POSITIVE.scheduled),
  )
  owner = 'synaptic_intelligence'

  def init_fn(params):
    leaves = _leaves.flatten(owner, 'params', params)
    return SynapticIntelligenceState(
      count=jnp.zeros([], jnp.int32),
      path=leaves.zeros(),
      importance=leaves.zeros(),
      anchor=leaves.copies(),
      previous=leaves.copies(),
      gradient=leaves.zeros(),
    )

  def update_fn(updates, state, params=None, *, new_task=False, **extra_args):
    del extra_args
    leaves = _leaves.with_params(owner, updates, params)
    boundary = _leaves.boundary(owner, new_task, state.count)

    def step(now, g, w, path, importance, anchor, previous, gradient):
      path = _leaves.finite(path - _leaves.product(gradient, w - previous))
      if boundary is not False:
        zero = jnp.zeros_like(path)
        moved = _leaves.product(w - anchor, w - anchor)
        grown = importance + jnp.maximum(path, zero) / (moved + now.damping)
        importance = jnp.where(boundary, _leaves.finite(grown), importance)
        anchor = jnp.where(boundary, w, anchor)
        path = jnp.where(boundary, zero, path)
      pull = _leaves.product(importance, w - anchor)
      u = _leaves.added(g, now.strength, pull)
      # Copies: the state must not hold the very buffers of params or updates.
      copies = jnp.array(w, copy=True), jnp.array(g, copy=True)
      return u, path, importance, anchor, *copies

    updates, kept = leaves.map(
      step,
      numbers.at(state.count),
      # In the order of the fields.
      keeps=state[1:],
    )
    return updates, SynapticIntelligenceState(
      optax.safe_increment(state.count), *kept
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
