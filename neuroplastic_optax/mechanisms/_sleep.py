"""Sleep: now and then, weights that have grown go back towards their sum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
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
  period: int | _types.ArrayLike = 1000,
  fraction: _types.ScalarOrSchedule = 0.1,
  strength: _types.ScalarOrSchedule = 0.3,
  jitter: _types.ScalarOrSchedule = 0.0,
  mask: Any = None,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
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
    period: updates of one cycle of learning and sleep, an integer ≥ 1.
    fraction: the part of a period that is asleep, in [0, 1], a number or a
      schedule of the update count, which is read at the beginning of each
      period. 0 for no sleep at all.
    strength: how far sums go back to those at `init`, in [0, 1], a number or a
      schedule.
    jitter: s ≥ 0, a number or a schedule.
    mask: the leaves to act on, as in `optax.masked`; the others learn on. None
      for all.
    key: an int seed or a JAX key.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`.

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

  def init_fn(params):
    leaves = _leaves.flatten('sleep', 'params', params)

    def first_sums(leaf, inside, n):
      if not inside or jnp.ndim(leaf) - n < 2:
        return jnp.zeros([], _leaves.wide_dtype(leaf))
      return _sums(leaf, n)

    sums = leaves.each(
      first_sums, leaves.mask(mask), leaves.stacked(stacked_axes)
    )
    copies = [None if x is None else jnp.array(x, copy=True) for x in sums]
    return SleepState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      leaves.per_leaf(sums),
      leaves.per_leaf(copies),
    )

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('sleep', updates, params)
    stacked = leaves.stacked(stacked_axes)
    inside = leaves.mask(mask)
    # The fraction at the beginning of the period, so that the period has one
    # moment of falling asleep.
    begun = numbers.at(state.count - state.count % period)
    length = _leaves.rounded(begun.fraction, period)
    # Which update of sleep this is, from 0; negative while awake.
    place = state.count % period - (period - length)

    def fallen(w, sums, inside, n):
      if not inside or jnp.ndim(w) - n < 2:
        return sums
      return jnp.where(place == 0, _sums(w, n), sums)

    asleep = leaves.each(
      fallen, leaves.of_leaves(state.asleep), inside, stacked
    )

    def step(now, g, w, first, last, words, n, floor):
      u = jnp.zeros_like(g)
      if g.ndim - n > 1:
        exponent = _exponent(now, length, w, first, last, words)
        u = _leaves.grown(w, exponent, floor)
      return jnp.where(place < 0, g, u)

    updates, _ = leaves.map(
      step,
      numbers.at(state.count),
      extras=[
        leaves.of_leaves(state.initial),
        asleep,
        _noise.words(state.key, state.count, len(leaves)),
        stacked,
        leaves.shrink_floors(),
      ],
      inside=inside,
    )
    return updates, SleepState(
      optax.safe_increment(state.count),
      state.key,
      state.initial,
      leaves.per_leaf(asleep),
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _sums(w: Any, stacked: int) -> jax.Array:
  """Σ|w| over each output unit's incoming weights, at most the largest."""
  magnitude = jnp.abs(jnp.asarray(w).astype(_leaves.wide_dtype(w)))
  incoming = _leaves.axes(w, stacked)[:-1]
  total = jnp.sum(magnitude, axis=incoming, keepdims=True)
  return jnp.minimum(total, float(jnp.finfo(total.dtype).max))


def _exponent(
  now: _numbers.Numbers,
  length: Any,
  w: jax.Array,
  first: jax.Array,
  last: jax.Array,
  words: jax.Array,
) -> jax.Array:
  """The logarithm of what one update asleep multiplies the kernel w by.

  `length` is S, `first` and `last` are the sums at `init` and at falling
  asleep, and `words` are those of the noise.
  """
  dtype = w.dtype
  first, last = first.astype(dtype), last.astype(dtype)
  decays = (last > first) & (first > 0)
  one = jnp.ones_like(last)
  ratio = first / jnp.where(decays, last, one)
  aim = (1 - now.strength) + now.strength * ratio
  aim = jnp.where(decays, aim, one)
  steps = jnp.maximum(jnp.asarray(length), 1).astype(dtype)
  exponent = jnp.log(jnp.maximum(aim, float(jnp.finfo(dtype).tiny))) / steps
  if not _numbers.is_zero(now.jitter):
    noise = _noise.normal(words, w).astype(dtype)
    shaken = now.jitter * noise - now.jitter * now.jitter / 2
    exponent = exponent + decays.astype(dtype) * shaken
  return jnp.broadcast_to(exponent, w.shape)
