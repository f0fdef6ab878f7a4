"""Synergy: several directions that act together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _kernels
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise

_ASSIGNMENTS = ('blend', 'partition', 'adaptive')


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
  axis_name: Any = None,
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
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`.

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
  _numbers.check_choice('assignment', assignment, _ASSIGNMENTS)
  _check_weights(weights, names)
  numbers = _numbers.Numbers(
    rate=(rate, _numbers.NON_NEGATIVE.scheduled),
    floor=(floor, _numbers.NON_NEGATIVE.scheduled),
  )
  if _numbers.is_known(floor) and not len(names) * float(floor) < 1:
    raise ValueError(
      f'floor must be less than 1 / {len(names)}, one over the number of '
      f'mechanisms, got {floor!r}.'
    )
  _noise.check_key(key)
  _trees.check_stacked_axes(stacked_axes)
  _trees.check_axis_name(axis_name)
  inner = {
    name: optax.with_extra_args_support(mechanisms[name]) for name in names
  }

  def init_fn(params: _types.Params) -> SynergyState:
    flat = _leaves.flatten('synergy', 'params', params)
    data = _noise.key_data(key)
    count = jnp.zeros([], jnp.int32)
    owner = log_weights = previous = None
    if assignment == 'partition':
      share = _shares(weights, names, count)
      pairs = _noise.words(
        data,
        count,
        [_noise.bound(x) for x in _trees.axis_names(axis_name, flat)],
      )
      owner = flat.unflatten(
        [
          None if leaf is None else _owners(pair, leaf, share)
          for leaf, pair in zip(flat.leaves, pairs, strict=True)
        ]
      )
    elif assignment == 'adaptive':
      stacked = _trees.stacked(stacked_axes, flat)
      zeros = [
        None if leaf is None else _no_weights(leaf, axes, len(names))
        for leaf, axes in zip(flat.leaves, stacked, strict=True)
      ]
      log_weights = _leaves.per_leaf(flat, zeros)
      previous = {name: _leaves.zeros(flat) for name in names}
    states = {name: each.init(params) for name, each in inner.items()}
    return SynergyState(count, data, states, owner, log_weights, previous)

  def update_fn(
    updates: _types.Updates,
    state: SynergyState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, SynergyState]:
    flat = _leaves.flatten('synergy', 'updates', updates)
    columns, states = [], {}
    for name, each in inner.items():
      proposed, states[name] = each.update(
        updates, state.inner[name], params, **extra_args
      )
      columns.append(flat.align(f'the updates of {name}', proposed))
    like = flat
    if params is not None:
      like = _trees.Flat(flat.align('params', params), flat.treedef)
    places = list(
      zip(
        _trees.stacked(stacked_axes, like),
        _trees.axis_names(axis_name, like),
        strict=True,
      )
    )
    share = _shares(weights, names, state.count)
    if assignment == 'adaptive':
      leaves, log_weights, previous = _adapted(
        numbers.at(state.count), flat, columns, state, share, places
      )
    else:
      owner = [None] * len(flat.leaves)
      if assignment == 'partition':
        owner = flat.align('state.owner', state.owner)
      leaves = _combined(flat, columns, owner, share, places)
      log_weights, previous = state.log_weights, state.previous
    return flat.unflatten(leaves), SynergyState(
      optax.safe_increment(state.count),
      state.key,
      states,
      state.owner,
      log_weights,
      previous,
    )

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


def _check_weights(weights: Any, names: tuple[str, ...]) -> None:
  if weights is None:
    return
  if not isinstance(weights, Mapping):
    raise TypeError(
      f'weights must be a dict of numbers by name or None, got {weights!r}.'
    )
  if set(weights) != set(names):
    raise ValueError(
      f'weights must have the names of the mechanisms, {list(names)}, got '
      f'{list(weights)}.'
    )
  for name, value in weights.items():
    _numbers.NON_NEGATIVE.scheduled.check(f'weights[{name!r}]', value)
  if all(map(_numbers.is_zero, weights.values())):
    raise ValueError(f'weights must not all be 0, got {weights!r}.')


# π of every mechanism, in a dtype.
_Share = Callable[[Any], list[Any]]


def _shares(
  weights: Mapping[str, Any] | None, names: tuple[str, ...], count: jax.Array
) -> _Share:
  """The weights of the mechanisms at an update, divided by their sum."""

  def share(dtype: Any) -> list[Any]:
    if weights is None:
      return [1 / len(names)] * len(names)
    values = [
      _numbers.NON_NEGATIVE.cast(
        _numbers.value_at(f'weights[{name!r}]', weights[name], count), dtype
      )
      for name in names
    ]
    total = values[0]
    for value in values[1:]:
      total = total + value
    return [value / total for value in values]

  return share


def _owners(pair: jax.Array, leaf: jax.Array, share: _Share) -> jax.Array:
  """Which mechanism each element of a leaf belongs to."""
  # Of the leaf's sharding, since a product of it.
  like = jnp.zeros_like(leaf, dtype=jnp.float32)
  drawn = (_noise.uniform(pair, like) + 1) / 2 + like
  owner = jnp.zeros_like(leaf, dtype=jnp.uint8)
  edge: Any = 0.0
  for part in share(jnp.float32)[:-1]:
    edge = edge + part
    owner += (drawn >= edge).astype(jnp.uint8)
  return owner


def _no_weights(leaf: jax.Array, stacked: int, count: int) -> jax.Array:
  shape = jnp.shape(leaf)
  ones = (1,) * (len(shape) - stacked)
  return jnp.zeros((count, *shape[:stacked], *ones), _leaves.wide_dtype(leaf))


def _equalized(
  proposed: Sequence[jax.Array], stacked: int, names: tuple[str, ...] | None
) -> list[jax.Array]:
  """û of every mechanism for one leaf."""
  axes = _kernels.all_axes(proposed[0], stacked)
  rms = [_rms(u, axes, names) for u in proposed]
  # Divided first: a sum of large numbers could overflow.
  mean = rms[0] / len(rms)
  for each in rms[1:]:
    mean = mean + each / len(rms)
  return [
    _leaves.product(u, _ratio(mean, each))
    for u, each in zip(proposed, rms, strict=True)
  ]


def _ratio(x: jax.Array, y: jax.Array) -> jax.Array:
  """x / y, finite; x where y is 0."""
  return _leaves.finite(x / jnp.where(y > 0, y, jnp.ones_like(y)))


def _rms(
  u: jax.Array, axes: tuple[int, ...], names: tuple[str, ...] | None
) -> jax.Array:
  count: Any = 1.0
  for axis in axes:
    count *= u.shape[axis]
  if names is not None:
    count *= jax.lax.axis_size(names)
  return _kernels.norms(u / count**0.5, axes, names)


def _combined(
  flat: _trees.Flat,
  columns: Sequence[Sequence[Any]],
  owner: Sequence[Any],
  share: _Share,
  places: Sequence[tuple[int, Any]],
) -> list[Any]:
  """The updates of all leaves, with "blend" and "partition"."""

  def step(_: None, g: Any, *rest: Any) -> tuple[Any]:
    *proposed, place, owned = rest
    each = _equalized(proposed, *place)
    if owned is None:
      parts = share(g.dtype)
      return (_sum([p * u for p, u in zip(parts, each, strict=True)]),)
    return (
      _sum([u * (owned == k).astype(u.dtype) for k, u in enumerate(each)]),
    )

  leaves, _ = _leaves.advance(
    step, None, flat.leaves, reads=columns, extras=[places, owner]
  )
  return leaves


def _sum(terms: Sequence[jax.Array]) -> jax.Array:
  total = terms[0]
  for term in terms[1:]:
    total = total + term
  return total


def _adapted(
  now: _numbers.Numbers,
  flat: _trees.Flat,
  columns: Sequence[Sequence[Any]],
  state: SynergyState,
  share: _Share,
  places: Sequence[tuple[int, Any]],
) -> tuple[list[Any], Any, Any]:
  """The updates of all leaves, log-weights and û, with "adaptive"."""
  count = len(columns)

  def step(now: _numbers.Numbers, g: Any, *rest: Any) -> tuple[Any, ...]:
    proposed, last = rest[:count], rest[count : 2 * count]
    log_weights, place = rest[2 * count :]
    axes = _kernels.all_axes(g, place[0])
    agreed = jnp.stack([_cosine(g, u, axes, place[1]) for u in last])
    log_weights = log_weights + now.rate * agreed
    prior = jnp.stack(
      [jnp.log(jnp.asarray(p, g.dtype)) for p in share(g.dtype)]
    ).reshape(-1, *(1,) * g.ndim)
    soft = jax.nn.softmax(log_weights + prior, axis=0)
    parts = now.floor + (1 - count * now.floor) * soft
    each = _equalized(proposed, *place)
    u = _sum([part * x for part, x in zip(parts, each, strict=True)])
    return u, *each, log_weights

  previous = [
    flat.align(f'state.previous[{name!r}]', tree)
    for name, tree in state.previous.items()
  ]
  leaves, kept = _leaves.advance(
    step,
    now,
    flat.leaves,
    reads=columns,
    keeps=[*previous, _leaves.kept_per_leaf(flat, state.log_weights)],
    extras=[places],
  )
  *trees, log_weights = kept
  named = {
    name: flat.unflatten(tree)
    for name, tree in zip(state.previous, trees, strict=True)
  }
  if not flat.leaves:
    return leaves, state.log_weights, named
  return leaves, tuple(log_weights), named


def _cosine(
  x: jax.Array,
  y: jax.Array,
  axes: tuple[int, ...],
  names: tuple[str, ...] | None,
) -> jax.Array:
  """The cosine of two tensors; 0 where one of them is 0."""
  units = []
  for each in (x, y):
    norm = _leaves.finite(_kernels.norms(each, axes, names))
    units.append(each / jnp.where(norm > 0, norm, jnp.ones_like(norm)))
  return _kernels.sums(units[0] * units[1], axes, names)
