"""Forgets an optimizer's moments at boundaries, or now and then."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _reset_state


class ResetMomentsState(NamedTuple):
  """The state of `reset_moments`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    inner: the state of the inner transformation.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  inner: _types.OptState


def reset_moments(
  inner: optax.GradientTransformation,
  period: int | _types.ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Resets the moments of an optimizer at boundaries, or periodically.

  Use it where tasks follow one another, so that momentum and step sizes of the
  last task do not act in the next. At the extra argument `new_task=True`,
  before that update, and after every `period` updates, what in the inner state
  is a copy of the params returns to what `inner.init` makes of the params that
  the update got. It is what `reset_state` does without a mask: counts in one
  named tuple with a copy, as Adam's, return to 0, while the counts of schedules
  go on. The averaging weight of Schedule-Free is not reset.

  `new_task` is a bool or a bool array; it is ignored at the very first update,
  and handed on to the inner transformation. A boundary said in a mini-step that
  `optax.MultiSteps` does not emit, or in a step that `optax.apply_if_finite`
  rejects, is lost.

  Args:
    inner: the transformation whose state is reset.
    period: n ≥ 1, an integer: the state is reset after updates n, 2n, 3n
      and so on. None for resets at `new_task` alone.

  Returns:
    A gradient transformation, whose state is a `ResetMomentsState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: `period` is less than 1, or `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.reset_moments(optax.trace(0.5))
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> for new_task in (False, False, True):
    ...   updates, state = tx.update(params, state, params, new_task=new_task)
    ...   print(updates)
    [1.]
    [1.5]
    [1.]
  """
  _leaves.check_transformation('inner', inner)
  if period is not None:
    period = _numbers.check_period('period', period)
  wrapped = optax.with_extra_args_support(inner)

  def init_fn(params):
    return ResetMomentsState(jnp.zeros([], jnp.int32), wrapped.init(params))

  def update_fn(updates, state, params=None, *, new_task=False, **extra_args):
    _leaves.check_params('reset_moments', params)

    def reset(when, state):
      if when is False:
        return state

      def pick(old, fresh, _):
        fresh = jnp.asarray(fresh).astype(jnp.result_type(old))
        # A choice, although `when` holds here: its type is that of both, also
        # where devices hold parts of an array.
        return jnp.where(when, fresh, old)

      # A conditional, so that `init` does its work only when it is time.
      return jax.lax.cond(
        when,
        lambda: _reset_state.restored(
          wrapped, state, wrapped.init(params), pick, params, counts=True
        ),
        lambda: state,
      )

    when = _leaves.boundary('reset_moments', new_task, state.count)
    updates, inner_state = wrapped.update(
      updates,
      reset(when, state.inner),
      params,
      new_task=new_task,
      **extra_args,
    )
    count = optax.safe_increment(state.count)
    if period is not None:
      inner_state = reset(count % period == 0, inner_state)
    return updates, ResetMomentsState(count, inner_state)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
