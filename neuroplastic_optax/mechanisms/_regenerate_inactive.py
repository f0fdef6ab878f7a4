"""Regeneration where there is no activity: only unused weights are reset."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _numbers
from neuroplastic_optax import _state
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class RegenerateInactiveState(NamedTuple):
  """The state of `regenerate_inactive`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    activity: s, a tree like the params, at least float32, 0 at `init`;
      `optax.MaskedNode` for leaves outside the mask. None with
      `utility="magnitude"`.
    anchor: w₀, a copy of the params at `init`, at least float32;
      `optax.MaskedNode` for leaves outside the mask. With `to="fresh"`, a tuple
      with the mean and the standard deviation of each leaf at `init`.
    fraction: for `inactive_fraction`: a float32 scalar for each leaf.
    inner: the state of the inner transformation.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  activity: _types.Updates | None
  anchor: Any
  fraction: Any
  inner: _types.OptState


def regenerate_inactive(
  inner: optax.GradientTransformation,
  rate: _types.ScalarOrSchedule = 0.01,
  threshold: _types.ScalarOrSchedule = 0.1,
  decay: _types.ArrayLike = 0.95,
  utility: Literal['activity', 'contribution', 'magnitude'] = 'activity',
  to: Literal['initial', 'fresh'] = 'initial',
  every: int | _types.ArrayLike = 1,
  mask: Any = None,
  stacked_axes: Any = None,
  *,
  key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
  """Pulls weights that get almost no gradient back to their initial values.

  What is seldom used is forgotten: rows of an embedding whose tokens are rare,
  weights from inputs that are mostly 0. Leave such leaves out with `mask`, or
  take a longer `decay`.

  Use it against loss of plasticity where the data change: weights that are no
  longer learned return to where learning was easy, and can be learned anew; all
  others are left alone. Wrap it around a complete optimizer, learning rate
  included, so that `rate` means the same with any of them. With w the params,
  w₀ those at `init` and g the incoming gradient,

      s ← ρ·s + (1 - ρ)·|g|
      inactive = s < threshold·mean(s)     the mean of a tensor, or of a slice
      u = inner(g) - rate·inactive ⊙ (w - w₀)

  at every `every`-th update, else u = inner(g). Where all of s is 0, nothing is
  inactive.

  With `to="fresh"`, w₀ is a normal draw instead, new each time, with the mean
  and the standard deviation that the leaf had at `init`, and s returns to 0
  after such an update. With `utility="contribution"`, `rate=1.0` and
  `every=n` this is the threshold variant of selective weight
  reinitialization.

  The mechanism is ours; s is the activity of `neuroplastic`. Its nearest
  relatives are L2 Init (`regenerate`), which pulls all weights and hopes that
  the loss holds those that matter, and selective weight reinitialization, which
  resets at once and at intervals. Its effect is measured in the study
  `regeneration`.

  The state holds two copies of the params, s and w₀. Around AdamW, an update
  compiled for CPUs reads and writes 21 words an element, where AdamW alone
  takes 10, with 34 operations instead of 15.

  Put `optax.apply_if_finite` and the clipping of huge gradients outside, not
  within `inner`: one infinite or huge element makes all others of its tensor
  inactive for hundreds of updates, and after a NaN none is, ever.

  Within `optax.MultiSteps` g is the mean gradient. Within `optax.masked` and
  `optax.partition` the mechanism acts on the leaves that it is given. Inside
  `shard_map` means are of the local part of a leaf.

  Args:
    inner: the optimizer.
    rate: the part of the way back that an inactive weight goes at an update, in
      [0, 1], a number or a schedule of the update count. With 0, updates are
      those of `inner`.
    threshold: below which part of the mean a weight is inactive, ≥ 0, a number
      or a schedule.
    decay: ρ in [0, 1).
    utility: "activity" for |g| as above; "contribution" for |g ⊙ w| in its
      place; "magnitude" for s = |w|, without an average.
    to: "initial" or "fresh".
    every: n ≥ 1, an integer: it acts at updates n, 2n, 3n and so on.
    mask: the leaves to act on, as in `optax.masked`. None for all.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`.
    key: an int seed or a JAX key, for `to="fresh"`.

  Returns:
    A gradient transformation, whose state is a `RegenerateInactiveState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, `utility` or `to` is unknown, or
      `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms, neuroplastic_optimizer
    >>> tx = mechanisms.regenerate_inactive(optax.adam(1e-3), rate=0.5)
    >>> state = tx.init(jnp.array([1.0, 1.0]))
    >>> gradient, params = jnp.array([0.0, 1.0]), jnp.array([3.0, 3.0])
    >>> updates, state = tx.update(gradient, state, params)
    >>> print([f'{u:.3f}' for u in updates])  # The first is halfway back.
    ['-1.000', '-0.001']
    >>> print(mechanisms.inactive_fraction(state))
    0.5
    >>> tx = mechanisms.regenerate_inactive(neuroplastic_optimizer(0.1))

  References:
    Kumar et al., `Maintaining Plasticity in Continual Learning via Regenerative
    Regularization <https://arxiv.org/abs/2308.11958>`_, 2023

    Hernandez-Garcia et al., `arXiv:2508.00212
    <https://arxiv.org/abs/2508.00212>`_ (selective weight reinitialization)
  """
  _leaves.check_transformation('inner', inner)
  numbers = _numbers.Numbers(
    rate=(rate, _numbers.FRACTION.scheduled),
    threshold=(threshold, _numbers.NON_NEGATIVE.scheduled),
    decay=(decay, _numbers.DECAY),
  )
  _numbers.check_choice(
    'utility', utility, ('activity', 'contribution', 'magnitude')
  )
  _numbers.check_choice('to', to, ('initial', 'fresh'))
  every = _numbers.check_period('every', every)
  _trees.check_mask('mask', mask)
  _trees.check_stacked_axes(stacked_axes)
  _noise.check_key(key)
  wrapped = optax.with_extra_args_support(inner)
  owner = 'regenerate_inactive'
  is_averaged, is_fresh = utility != 'magnitude', to == 'fresh'

  def init_fn(params):
    leaves = _leaves.flatten(owner, 'params', params)
    inside = leaves.mask(mask)

    def copies():
      one = lambda x, taken: _leaves.copied(x) if taken else optax.MaskedNode()
      return leaves.tree(leaves.each(one, inside))

    activity = jax.tree.map(jnp.zeros_like, copies()) if is_averaged else None
    anchor = (
      leaves.per_leaf(leaves.each(_leaves.moments)) if is_fresh else copies()
    )
    return RegenerateInactiveState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      activity,
      anchor,
      _diagnostics.per_leaf(
        leaves.like, leaves.each(lambda _: jnp.zeros([], jnp.float32))
      ),
      wrapped.init(params),
    )

  def update_fn(updates, state, params=None, **extra_args):
    gradients = updates
    _leaves.with_params(owner, gradients, params)
    updates, inner_state = wrapped.update(
      updates, state.inner, params, **extra_args
    )
    leaves = _leaves.with_params(owner, updates, params)
    t = optax.safe_increment(state.count)

    def step(now, u, w, g, *rest):
      *averages, _, anchor, words, stacked = rest
      s = _utility(utility, now, w, g, *averages)
      mean = _leaves.mean(s, _leaves.axes(s, stacked), keepdims=True)
      inactive = s < now.threshold * mean

      def acted():
        target = _drawn(words, w, *anchor) if is_fresh else anchor
        way = _leaves.finite(w - target.astype(w.dtype))
        # A difference with 0 would make 0 of -0.
        pulled = _arrays.unless_zero(now.rate, u - now.rate * way, u)
        after = jnp.zeros_like(s) if is_fresh else s
        return jnp.where(inactive, pulled, u), after

      fraction = _share(inactive.astype(s.dtype))
      u, s = _leaves.now_and_then(every, t, acted, (u, s))
      return (u, s, fraction) if is_averaged else (u, fraction)

    updates, (*averages, fractions) = leaves.map(
      step,
      numbers.at(state.count),
      reads=[gradients],
      keeps=[state.activity] * is_averaged,
      keeps_by_leaf=[_diagnostics.leaves_of(state.fraction)],
      extras=[
        leaves.of_leaves(state.anchor)
        if is_fresh
        else leaves.align(state.anchor),
        _noise.words(state.key, state.count, len(leaves)),
        leaves.stacked(stacked_axes),
      ],
      inside=leaves.mask(mask),
    )
    return updates, RegenerateInactiveState(
      t,
      state.key,
      averages[0] if is_averaged else state.activity,
      state.anchor,
      _diagnostics.per_leaf(leaves.like, fractions),
      inner_state,
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def inactive_fraction(opt_state: _types.OptState) -> Any:
  """The share of inactive weights of each leaf at the last update.

  Use it to see how much of a network is no longer learned. With `rate=0.0`,
  `regenerate_inactive` measures without changing an update.

  Args:
    opt_state: any state that holds one of `regenerate_inactive`, such as that
      of a chain, of wrappers, or of `nnx.Optimizer`.

  Returns:
    A tree like the params of float32 scalars, or a dictionary by path where a
    node of the params takes no scalars. 0 before the first update, for leaves
    outside the mask and for empty ones.

  Raises:
    ValueError: the state holds no state of `regenerate_inactive`, or more than
      one, of which the message says how to reach each.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.regenerate_inactive(optax.sgd(0.1))
    >>> params = {'kernel': jnp.ones(4)}
    >>> gradient = {'kernel': jnp.array([0.0, 1.0, 2.0, 3.0])}
    >>> _, state = tx.update(gradient, tx.init(params), params)
    >>> print(mechanisms.inactive_fraction(state)['kernel'])
    0.25
  """
  state = _state.only_state(
    opt_state,
    RegenerateInactiveState,
    'inactive_fraction',
    'regenerate_inactive',
  )
  return _diagnostics.tree_of(state.fraction)


def _utility(
  utility: str, now: _numbers.Numbers, w: Any, g: Any, *average: Any
) -> jax.Array:
  """s of this update; `average` is the one before, if there is one."""
  if not average:
    return jnp.abs(w)
  size = _leaves.product(g, w) if utility == 'contribution' else g
  return now.decay * average[0] + (1 - now.decay) * jnp.abs(size)


def _share(inactive: jax.Array) -> jax.Array:
  """The mean; inside `shard_map`, also over the devices that hold parts.

  There a scalar that differs between devices could not be returned.
  """
  share = jnp.mean(inactive)
  axes = tuple(jax.typeof(share).manual_axis_type.varying)
  return jax.lax.pmean(share, axes) if axes else share


def _drawn(
  words: jax.Array, like: jax.Array, mean: jax.Array, deviation: jax.Array
) -> jax.Array:
  """A normal draw of the shape and dtype of `like`."""
  normal = _noise.normal(words, like).astype(like.dtype)
  return _leaves.finite(
    mean.astype(like.dtype) + deviation.astype(like.dtype) * normal
  )
