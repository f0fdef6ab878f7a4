"""Sleep: now and then, weights that have grown go back towards their sum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _kernels
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class SleepState(NamedTuple):
  """The state of `sleep`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    initial: the sums of |w| over each output unit's incoming weights at `init`:
      a tuple with an array for each kernel, whose axes have size 1 but for
      stacked axes and the output axis, at least float32; a 0 for other leaves.
    asleep: the same sums at the last falling asleep; before one, those of
      `initial`.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  initial: Any
  asleep: Any


def sleep(
  period: int = 1000,
  fraction: _types.ScalarOrSchedule = 0.1,
  strength: _types.ScalarOrSchedule = 0.3,
  jitter: _types.ScalarOrSchedule = 0.0,
  mask: Any = None,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
  axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Alternates learning with phases in which grown weights are scaled down.

  Use it to study the renormalisation of synapses in sleep. It is our analogue,
  in the space of weights, of the method of Massey et al., not that method; and
  its authors saw no benefit for networks that are trained by gradients. Chain
  it last, after the learning rate.

  Of every `period` updates the last S = round(fraction · period) are asleep.
  Then incoming updates are zeroed. For each output unit of a kernel
  [..., in, out] let s be the sum of |w| over its incoming weights. From its
  value s₁ at falling asleep it goes in S equal ratios to

      (1 - strength)·s₁ + strength·s₀

  where s₀ is the sum at `init`. Only units with s₁ > s₀ > 0 decay. All incoming
  weights of a unit are multiplied by the same ratio, so that signs are kept.
  With `jitter` s, each decaying element is also multiplied by
  exp(s·ξ - s²/2), of mean 1, where ξ is standard normal, drawn anew each time.
  Leaves of rank less than 2, such as biases, are held still in sleep.

  Args:
    period: updates of one cycle of learning and sleep, a Python integer ≥ 1.
    fraction: the part of a period that is asleep, in [0, 1], a number or a
      schedule of the update count, which is asked at the beginning of each
      period. 0 for no sleep at all.
    strength: how far sums go back to those at `init`, in [0, 1], a number or a
      schedule.
    jitter: s ≥ 0, a number or a schedule.
    mask: the leaves to act on, as in `optax.masked`; the others learn on. None
      for all.
    key: an int seed or a JAX key.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`.
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`. They must split input axes;
      name no axis over which output units are split.

  Returns:
    A gradient transformation, whose state is a `SleepState`. Its `update` needs
    the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, or `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.sleep(period=4, fraction=0.5, strength=1.0)
    >>> params = jnp.full((2, 1), 1.0)
    >>> state = tx.init(params)
    >>> for _ in range(4):  # Two updates awake, two asleep.
    ...   updates, state = tx.update(jnp.full((2, 1), 1.5), state, params)
    ...   params = optax.apply_updates(params, updates)
    ...   print(params[0])
    [2.5]
    [4.]
    [2.]
    [1.]

  References:
    Massey et al., `arXiv:2601.08447 <https://arxiv.org/abs/2601.08447>`_
    (the idea)
  """
  period = _numbers.check_period('period', period)
  numbers = _numbers.Numbers(
    fraction=(fraction, _numbers.FRACTION.scheduled),
    strength=(strength, _numbers.FRACTION.scheduled),
    jitter=(jitter, _numbers.NON_NEGATIVE.scheduled),
  )
  _trees.check_mask('mask', mask)
  _noise.check_key(key)
  _trees.check_stacked_axes(stacked_axes)
  _trees.check_axis_name(axis_name)

  def init_fn(params: _types.Params) -> SleepState:
    flat = _leaves.flatten('sleep', 'params', params)
    stacked = _trees.stacked(stacked_axes, flat)
    inside = _trees.mask('mask', mask, flat)
    names = _trees.axis_names(axis_name, flat)
    sums = [
      _first_sums(*row)
      for row in zip(flat.leaves, inside, stacked, names, strict=True)
    ]
    copies = [None if x is None else jnp.array(x, copy=True) for x in sums]
    return SleepState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      _leaves.per_leaf(flat, sums),
      _leaves.per_leaf(flat, copies),
    )

  def update_fn(
    updates: _types.Updates,
    state: SleepState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, SleepState]:
    del extra_args
    flat = _leaves.flatten('sleep', 'updates', updates)
    weights = _leaves.params_of('sleep', flat, params)
    like = _trees.Flat(weights, flat.treedef)
    names = _trees.axis_names(axis_name, like)
    now = numbers.at(state.count)
    # That of the beginning of the period: it has one moment of falling asleep.
    begun = numbers.at(state.count - state.count % period)
    length = _rounded(begun.fraction, period)
    place = state.count % period - (period - length)

    def step(
      now: _numbers.Numbers, g: Any, w: Any, first: Any, last: Any, *extras: Any
    ) -> tuple[Any, Any]:
      return _step(now, length, place, g, w, first, last, *extras)

    leaves, (asleep,) = _leaves.advance(
      step,
      now,
      flat.leaves,
      reads=[weights, _leaves.kept_per_leaf(flat, state.initial)],
      keeps=[_leaves.kept_per_leaf(flat, state.asleep)],
      extras=[
        _noise.words(state.key, state.count, names),
        _trees.stacked(stacked_axes, like),
        names,
        [_leaves.shrink_floor(g) for g in flat.leaves],
      ],
      inside=_trees.mask('mask', mask, like),
    )
    kept = tuple(asleep) if flat.leaves else state.asleep
    return flat.unflatten(leaves), SleepState(
      optax.safe_increment(state.count), state.key, state.initial, kept
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _rounded(fraction: Any, period: int | jax.Array) -> Any:
  """How many updates of a period are asleep: Python's `round`."""
  if _numbers.is_known(fraction) and isinstance(period, int):
    return round(float(fraction) * period)
  exact = jnp.asarray(fraction).astype(jnp.result_type(float)) * period
  return jnp.round(exact).astype(jnp.int32)


def _first_sums(
  leaf: Any, inside: bool, stacked: int, names: tuple[str, ...] | None
) -> Any:
  """The sums of a leaf at `init`, whole arrays outside of `shard_map`."""
  if leaf is None:
    return None
  dtype = _leaves.wide_dtype(leaf)
  if not inside or _kernels.rank(leaf, stacked) < 2:
    return jnp.zeros([], dtype)
  magnitude = jnp.abs(jnp.asarray(leaf).astype(dtype))
  axes = _kernels.incoming_axes(leaf, stacked)
  return _held_sums(magnitude, axes, _noise.bound(names))


def _held_sums(
  x: jax.Array, axes: Sequence[int], names: tuple[str, ...] | None
) -> jax.Array:
  total = _kernels.sums(x, tuple(axes), names)
  return jnp.minimum(total, float(jnp.finfo(x.dtype).max))


def _step(
  now: _numbers.Numbers,
  length: Any,
  place: jax.Array,
  g: jax.Array,
  w: jax.Array,
  first: jax.Array,
  last: jax.Array,
  pair: jax.Array,
  stacked: int,
  names: tuple[str, ...] | None,
  floor: float,
) -> tuple[jax.Array, jax.Array]:
  """The update, and the sums at falling asleep.

  Args:
    now: the numbers.
    length: S.
    place: which update of sleep this is, from 0; negative while awake.
    g: the incoming update.
    w: the params.
    first: the sums at `init`.
    last: the sums at the last falling asleep.
    pair: the words of the noise.
    stacked: how many axes are stacked.
    names: the mesh axes over which the leaf is split.
    floor: the factor by which a step may shrink a weight.
  """
  awake = place < 0
  if _kernels.rank(g, stacked) < 2:
    return jnp.where(awake, g, jnp.zeros_like(g)), last
  axes = _kernels.incoming_axes(w, stacked)
  last = jnp.where(place == 0, _held_sums(jnp.abs(w), axes, names), last)
  decays = (last > first) & (first > 0)
  one = jnp.ones_like(last)
  ratio = first / jnp.where(decays, last, one)
  aim = (1 - now.strength) + now.strength * ratio
  aim = jnp.where(decays, aim, one)
  steps = jnp.maximum(jnp.asarray(length), 1).astype(g.dtype)
  tiny = float(jnp.finfo(g.dtype).tiny)
  exponent = jnp.log(jnp.maximum(aim, tiny)) / steps
  if not _numbers.is_zero(now.jitter):
    noise = _noise.normal(pair, g).astype(g.dtype)
    shaken = now.jitter * noise - now.jitter * now.jitter / 2
    exponent = exponent + decays.astype(g.dtype) * shaken
  exponent = jnp.broadcast_to(exponent, w.shape)
  return jnp.where(awake, g, _leaves.grown(w, exponent, floor)), last
