"""Synergy: several directions that act together."""

from collections.abc import Callable, Mapping, Sequence
import functools
import math
import operator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class SynergyState(NamedTuple):
  """The state of `synergy`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    inner: the states of the mechanisms, by name.
    owner: with "partition", which mechanism each element belongs to, by its
      place in the dict: a tree like the params, dtype uint8. Else None.
    log_weights: with "adaptive", l: a tuple with an array for each leaf, whose
      first axis is over the mechanisms and whose other axes have size 1 but for
      stacked axes; at least float32. Else None.
    previous: with "adaptive", û of the last update: by name, a tree like the
      params, at least float32. Else None.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  inner: dict[str, _types.OptState]
  owner: Any
  log_weights: Any
  previous: Any


def synergy(
  mechanisms: Mapping[str, optax.GradientTransformation],
  assignment: Literal['blend', 'partition', 'adaptive'] = 'blend',
  weights: Mapping[str, _types.ScalarOrSchedule] | None = None,
  rate: _types.ScalarOrSchedule = 1.0,
  floor: _types.ScalarOrSchedule = 0.05,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Lets several directions act together, each with a state of its own.

  Use it to combine mechanisms whose updates differ in size, such as Adam's and
  `neuroplastic`'s, without one drowning the others. It follows the idea of
  arXiv:2508.13673, that several kinds of plasticity act together in a brain.
  The equations of that work are not public; these are ours. All K mechanisms
  get the same updates. With u_k what the k-th returns for a tensor,

      û_k = u_k · r / rms(u_k)     r the mean over k of rms(u_k)
      u = Σ π_k · û_k

  - "blend": π are the weights, divided by their sum.
  - "partition": each element belongs to one mechanism, drawn once, at `init`,
    with the weights as probabilities, and gets its û_k.
  - "adaptive": mechanisms whose last update agrees with the present gradient
    gain weight. Per tensor, with l_k = 0 at `init` and û_k 0 before the first
    update,

        l_k ← l_k + rate·cos(g, û_k of the last update)
        π = floor + (1 - K·floor)·softmax(l + log weights)

  With one mechanism the result is its update.

  Args:
    mechanisms: by name, the directions, such as `optax.scale_by_adam()`. At
      most 256.
    assignment: "blend", "partition" or "adaptive".
    weights: for each mechanism a number ≥ 0 or a schedule of the update count,
      which "partition" reads at 0. None for equal weights.
    rate: how fast adaptive weights move, ≥ 0, a number or a schedule.
    floor: the least weight of a mechanism with "adaptive", ≥ 0, with
      K·floor < 1; a number or a schedule.
    key: an int seed or a JAX key, for "partition".
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`.

  Returns:
    A gradient transformation, whose state is a `SynergyState`. Its `update`
    needs what the mechanisms need.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, names of `weights` are not those of
      the mechanisms, or `assignment` is unknown.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms, neuroplastic
    >>> tx = mechanisms.synergy(
    ...   {'adam': optax.scale_by_adam(), 'plastic': neuroplastic()},
    ...   weights={'adam': 3.0, 'plastic': 1.0},
    ... )
    >>> params = jnp.array([1.0, 2.0])
    >>> updates, state = tx.update(params, tx.init(params), params)
    >>> print([f'{u:.2f}' for u in updates])
    ['0.72', '0.93']

  References:
    `arXiv:2508.13673 <https://arxiv.org/abs/2508.13673>`_ (the idea)
  """
  names = _check_mechanisms(mechanisms)
  _numbers.check_choice(
    'assignment', assignment, ('blend', 'partition', 'adaptive')
  )
  numbers = _numbers.Numbers(
    rate=(rate, _numbers.NON_NEGATIVE.scheduled),
    floor=(floor, _numbers.NON_NEGATIVE.scheduled),
  )
  if _numbers.is_known(floor) and not len(names) * float(floor) < 1:
    raise ValueError(
      f'floor must be less than 1 / {len(names)}, one over the number of '
      f'mechanisms, got {floor!r}.'
    )
  shares = _shares(weights, names)
  _noise.check_key(key)
  _trees.check_stacked_axes(stacked_axes)
  inner = {
    name: optax.with_extra_args_support(mechanisms[name]) for name in names
  }

  def init_fn(params):
    leaves = _leaves.flatten('synergy', 'params', params)
    data = _noise.key_data(key)
    count = jnp.zeros([], jnp.int32)
    owner = log_weights = previous = None
    if assignment == 'partition':
      draw = functools.partial(_owners, shares(count, jnp.float32))
      words = _noise.words(data, count, len(leaves))
      owner = leaves.tree(leaves.each(draw, words))
    elif assignment == 'adaptive':
      zeros = leaves.each(
        functools.partial(_no_weights, len(names)),
        leaves.stacked(stacked_axes),
      )
      log_weights = leaves.per_leaf(zeros)
      previous = {name: leaves.zeros() for name in names}
    states = {name: inner[name].init(params) for name in names}
    return SynergyState(count, data, states, owner, log_weights, previous)

  def update_fn(updates, state, params=None, **extra_args):
    leaves = _leaves.flatten('synergy', 'updates', updates)
    stacked = leaves.stacked(stacked_axes)
    proposed, states = {}, {}
    for name in names:
      proposed[name], states[name] = inner[name].update(
        updates, state.inner[name], params, **extra_args
      )
    owner: list[Any] = [None] * len(leaves)
    keeps, by_leaf = [], []
    if assignment == 'partition':
      owner = leaves.align(state.owner)
    elif assignment == 'adaptive':
      # Not in the order of the dict: within `jit` JAX sorts it.
      keeps = [state.previous[name] for name in names]
      by_leaf = [leaves.of_leaves(state.log_weights)]

    def step(now, g, *rest):
      *arrays, owner, n = rest
      over = _leaves.axes(g, n)
      each = _equalized(arrays[: len(names)], over)
      parts: Any = shares(state.count, g.dtype)
      if assignment == 'partition':
        parts = [(owner == k).astype(g.dtype) for k in range(len(names))]
      elif assignment == 'adaptive':
        *last, log_weights = arrays[len(names) :]
        log_weights = _agreed(now, log_weights, over, g, last)
        parts = _softened(now, parts, log_weights)
      u = _sum([part * x for part, x in zip(parts, each, strict=True)])
      return (u, *each, log_weights) if keeps else u

    updates, kept = leaves.map(
      step,
      numbers.at(state.count),
      reads=list(proposed.values()),
      keeps=keeps,
      keeps_by_leaf=by_leaf,
      extras=[owner, stacked],
    )
    state = state._replace(
      count=optax.safe_increment(state.count), inner=states
    )
    if assignment == 'adaptive':
      *previous, log_weights = kept
      state = state._replace(
        log_weights=leaves.per_leaf(log_weights),
        previous=dict(zip(names, previous, strict=True)),
      )
    return updates, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_mechanisms(mechanisms: Any) -> tuple[str, ...]:
  """The names of the mechanisms."""
  if not isinstance(mechanisms, Mapping) or not all(
    isinstance(name, str) for name in mechanisms
  ):
    raise TypeError(
      'mechanisms must be a dict of optax.GradientTransformations by name, '
      f'got {mechanisms!r}.'
    )
  if not 1 <= len(mechanisms) <= 256:
    raise ValueError(
      f'mechanisms must hold 1 to 256 transformations, got {len(mechanisms)}.'
    )
  for name, each in mechanisms.items():
    _leaves.check_transformation(f'mechanisms[{name!r}]', each)
  return tuple(mechanisms)


def _shares(
  weights: Any, names: Sequence[str]
) -> Callable[[jax.Array, Any], list[Any]]:
  """The weights over their sum, as a function of the count and the dtype."""
  if weights is None:
    weights = dict.fromkeys(names, 1.0)
  if not isinstance(weights, Mapping):
    raise TypeError(
      f'weights must be a dict of numbers by name or None, got {weights!r}.'
    )
  if set(weights) != set(names):
    raise ValueError(
      f'weights must have the names of the mechanisms, {list(names)}, got '
      f'{list(weights)}.'
    )
  labels = {name: f'weights[{name!r}]' for name in names}
  numbers = _numbers.Numbers(
    **{
      labels[name]: (weights[name], _numbers.NON_NEGATIVE.scheduled)
      for name in names
    }
  )
  if all(map(_numbers.is_zero, weights.values())):
    raise ValueError(f'weights must not all be 0, got {weights!r}.')

  def shares(count: jax.Array, dtype: Any) -> list[Any]:
    now = numbers.at(count).cast(dtype)
    values = [getattr(now, labels[name]) for name in names]
    total = _sum(values)
    return [value / total for value in values]

  return shares


def _owners(
  shares: Sequence[Any], leaf: jax.Array, words: jax.Array
) -> jax.Array:
  """Which mechanism each element of a leaf belongs to."""
  # Of the leaf's sharding, since a product of it.
  like = jnp.zeros_like(leaf, dtype=jnp.float32)
  drawn = (_noise.uniform(words, like) + 1) / 2 + like
  owner = jnp.zeros_like(leaf, dtype=jnp.uint8)
  edge: Any = 0.0
  for share in shares[:-1]:
    edge = edge + share
    owner += (drawn >= edge).astype(jnp.uint8)
  return owner


def _no_weights(count: int, leaf: jax.Array, stacked: int) -> jax.Array:
  """The log-weights of `count` mechanisms for a leaf at `init`."""
  ones = (1,) * (jnp.ndim(leaf) - stacked)
  shape = (count, *jnp.shape(leaf)[:stacked], *ones)
  return jnp.zeros(shape, _leaves.wide_dtype(leaf))


def _sum(terms: Sequence[Any]) -> Any:
  return functools.reduce(operator.add, terms)


def _equalized(
  proposed: Sequence[jax.Array], over: tuple[int, ...]
) -> list[jax.Array]:
  """û of every mechanism for one leaf."""
  size = math.prod((proposed[0].shape[axis] for axis in over), start=1.0)
  rms = [_leaves.norms(u / size**0.5, over) for u in proposed]
  # Divided first: a sum of large numbers could overflow.
  mean = _sum([each / len(rms) for each in rms])
  return [
    _leaves.product(u, _leaves.ratio(mean, each))
    for u, each in zip(proposed, rms, strict=True)
  ]


def _agreed(
  now: _numbers.Numbers,
  log_weights: jax.Array,
  over: tuple[int, ...],
  g: jax.Array,
  last: Sequence[jax.Array],
) -> jax.Array:
  """The log-weights of a leaf, given its gradient and û of the last update."""

  def unit(x: jax.Array) -> jax.Array:
    norm = _leaves.finite(_leaves.norms(x, over))
    return x / jnp.where(norm > 0, norm, jnp.ones_like(norm))

  direction = unit(g)
  cosines = [
    jnp.sum(direction * unit(x), axis=over, keepdims=True) for x in last
  ]
  return _leaves.finite(log_weights + now.rate * jnp.stack(cosines))


def _softened(
  now: _numbers.Numbers, shares: Sequence[Any], log_weights: jax.Array
) -> jax.Array:
  """π of "adaptive", along the first axis."""
  dtype, count = log_weights.dtype, len(shares)
  prior = jnp.stack([jnp.log(jnp.asarray(x, dtype)) for x in shares])
  prior = prior.reshape(-1, *(1,) * (log_weights.ndim - 1))
  soft = jax.nn.softmax(log_weights + prior, axis=0)
  return now.floor + (1 - count * now.floor) * soft
