"""Elastic weight consolidation, with boundaries and active forgetting."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class ElasticWeightConsolidationState(NamedTuple):
  """The state of `elastic_weight_consolidation`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    task_count: n, the updates of the present task so far, shape (), dtype
      int32.
    passed: whether a boundary has passed, shape (), dtype bool.
    squares: S, the sum of g² in the present task: a tree like the params, at
      least float32, as are the other two.
    importance: F.
    anchor: w*, the params at the last boundary; before one, those at `init`.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  task_count: jax.Array
  passed: jax.Array
  squares: _types.Updates
  importance: _types.Updates
  anchor: _types.Params


def elastic_weight_consolidation(
  strength: _types.ScalarOrSchedule = 1.0,
  decay: _types.ArrayLike = 1.0,
  forgetting: _types.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
  """Keeps what earlier tasks need: online elastic weight consolidation (EWC).

  Use it for a sequence of tasks whose boundaries are known, to learn the next
  without forgetting the last. Say `new_task=True` with the first update of a
  new task. With w the params and g the raw gradient, at a boundary, before its
  update,

      F ← γ·F + S / n,   w* ← w,   S ← 0,   n ← 0

  and at every update

      S ← S + g²,   n ← n + 1
      u = g + λ·F ⊙ (w - w*) + forgetting·w

  where the last term, active forgetting (AF-1), begins with the first boundary.
  F, which starts at 0, is an estimate of the diagonal of the Fisher information
  from the squared gradients of minibatches along the path of training. It is
  not, as in the first publication of EWC, computed at the end of a task from
  gradients of single examples. Squared gradients of minibatches of B examples
  are about a B-th of theirs: multiply a published strength by B.

  It belongs on the raw gradient, first in a chain; behind Adam's normalisation
  it means something else. `new_task` is an extra argument of `update`, a bool
  or a bool array. It is ignored at the very first update. A boundary said in a
  mini-step that `optax.MultiSteps` does not emit, or in a step that
  `optax.apply_if_finite` rejects, is lost.

  Args:
    strength: λ ≥ 0, a number or a schedule of the update count.
    decay: γ in [0, 1], by which the importance of earlier tasks decays at each
      boundary.
    forgetting: the strength of active forgetting, ≥ 0, a number or a schedule.

  Returns:
    A gradient transformation, whose state is an
    `ElasticWeightConsolidationState`. Its `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, or `update` is called
      without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.elastic_weight_consolidation(strength=10.0)
    >>> params, state = jnp.array([1.0]), tx.init(jnp.array([1.0]))
    >>> _, state = tx.update(jnp.array([2.0]), state, params)
    >>> updates, state = tx.update(
    ...   jnp.array([0.5]), state, params, new_task=True
    ... )
    >>> updates, state = tx.update(jnp.array([0.0]), state, params + 0.1)
    >>> print(f'{updates[0]:.2f}')  # 10 · 2² · 0.1
    4.00

  References:
    Kirkpatrick et al., `Overcoming Catastrophic Forgetting in Neural Networks
    <https://arxiv.org/abs/1612.00796>`_, 2017

    Schwarz et al., `Progress & Compress
    <https://arxiv.org/abs/1805.06370>`_, 2018 (the online form)

    Wang et al., `Incorporating Neuro-Inspired Adaptability for Continual
    Learning in Artificial Intelligence <https://arxiv.org/abs/2308.14991>`_,
    2023 (active forgetting)
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled),
    decay=(decay, _numbers.FRACTION),
    forgetting=(forgetting, _numbers.NON_NEGATIVE.scheduled),
  )
  owner = 'elastic_weight_consolidation'

  def init_fn(params):
    leaves = _leaves.flatten(owner, 'params', params)
    return ElasticWeightConsolidationState(
      count=jnp.zeros([], jnp.int32),
      task_count=jnp.zeros([], jnp.int32),
      passed=jnp.zeros([], jnp.bool_),
      squares=leaves.zeros(),
      importance=leaves.zeros(),
      anchor=leaves.copies(),
    )

  def update_fn(updates, state, params=None, *, new_task=False, **extra_args):
    del extra_args
    leaves = _leaves.with_params(owner, updates, params)
    boundary = _leaves.boundary(owner, new_task, state.count)
    passed = state.passed | boundary

    def step(now, g, w, squares, weight, anchor):
      if boundary is not False:
        n = jnp.maximum(state.task_count, 1).astype(g.dtype)
        grown = _leaves.finite(now.decay * weight + squares / n)
        weight = jnp.where(boundary, grown, weight)
        anchor = jnp.where(boundary, w, anchor)
        squares = jnp.where(boundary, jnp.zeros_like(squares), squares)
      pull = _leaves.product(weight, w - anchor)
      u = _leaves.added(g, now.strength, pull)
      if not _numbers.is_zero(now.forgetting):
        u += now.forgetting * passed.astype(g.dtype) * w
      return u, squares + _leaves.product(g, g), weight, anchor

    updates, kept = leaves.map(
      step,
      numbers.at(state.count),
      keeps=[state.squares, state.importance, state.anchor],
    )
    n = jnp.where(boundary, jnp.zeros([], jnp.int32), state.task_count)
    return updates, ElasticWeightConsolidationState(
      optax.safe_increment(state.count),
      optax.safe_increment(n),
      passed,
      *kept,
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
