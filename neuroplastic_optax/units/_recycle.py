"""Recycling: units that no longer help begin anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _layers
from neuroplastic_optax import _numbers
from neuroplastic_optax import _state
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise
from neuroplastic_optax.mechanisms._reset_state import reset_state
from neuroplastic_optax.units import _rule

_OWNER = 'units.recycle'

# As `jax.nn.initializers`: key, shape, dtype.
Initializer = Callable[..., jax.Array]


class RecycleState(NamedTuple):
  """The state of `recycle`. Dictionaries are by the names of layers.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    inner: the state of the inner optimizer.
    rule: the state of the rule for each layer.
    deviations: the standard deviations of the incoming kernels at `init`, a
      tuple of scalars of at least float32, where fresh ones are drawn so.
    share: r of the last time, float32 [H].
    total: the sum of r so far, float32 [H].
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  inner: _types.OptState
  rule: Any
  deviations: Any
  share: Any
  total: Any


def recycle(
  inner: optax.GradientTransformation,
  layers: Sequence[_layers.Layer],
  rule: _rule.Rule,
  every: int | _types.ArrayLike | None = None,
  init: Initializer | Mapping[str, Initializer] | None = None,
  moments: bool = True,
  *,
  axis_name: str | Sequence[str] | None = None,
  key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
  """Gives units that no longer help fresh incoming weights, and cuts them off.

  Use it against loss of plasticity in long training on changing data. Wrap it
  around a complete optimizer, learning rate included; `optax.MultiSteps`,
  `apply_if_finite` and the like go around it. At every `every`-th update the
  rule names a share r in [0, 1] of each unit. With w the params and u the
  update of the inner optimizer,

      incoming   u ← (1 - r)·(w + u) + r·fresh - w
      vectors    u ← (1 - r)·(w + u) + r·value - w
      outgoing   u ← (1 - r)·(w + u) - w

  in this order, so that of a kernel between two layers the weights from a
  recycled unit to a recycled unit are 0. That is as in the program of ReDo;
  those of Continual Backprop and SNR go layer by layer, where fresh weights
  win. For r = 1 they are exactly fresh - w, value - w and -w. Where no unit is
  recycled, the update is that of the inner optimizer, bit for bit.

  With `moments`, the state of the inner optimizer begins anew for each element
  that is recycled whole, as `mechanisms.reset_state` does it with a mask:
  anchors move to the fresh weights, and counts go on. With moments of 0 and a
  large count, Adam then steps by up to 6.6 times the learning rate (at the 12th
  update after; by more than 1.2 times for a thousand): use
  `units.scale_by_adam`.

  Rules with `uses_activations` need what the layers put out on this batch,
  behind their nonlinearity: `update(grads, state, params, activations={name:
  h})`, h of [..., H], from Linen's `sow`, NNX's `Intermediate`, or returned by
  the model. `nnx.Optimizer.update` takes them too; `TrainState.apply_gradients`
  cannot: call `tx.update`. Within `optax.MultiSteps` a rule sees emitted
  updates only, with the mean gradient and the last mini-batch's activations.

  Within `optax.masked` and `optax.partition` every leaf of a layer must be
  there. Leaves that the inner optimizer freezes are recycled too.
  `inject_hyperparams` goes into the inner optimizer, or around a function that
  builds the whole. Under `vmap`, when one lane recycles, all pay.

  Args:
    inner: the optimizer.
    layers: the layers of units.
    rule: a `units.Rule`, such as `units.Redo()`.
    every: n ≥ 1, an integer: it acts at updates n, 2n, 3n and so on. None for
      that of the rule.
    init: how fresh weights are drawn: None for normal numbers with the standard
      deviation that the leaf had at `init`; or a callable `(key, shape, dtype)`
      such as those of `jax.nn.initializers`, called with the shape of the whole
      leaf; or a mapping of such by layer, the layers that are not in it being
      drawn as with None.
    moments: whether the state of the inner optimizer begins anew where a unit
      does.
    axis_name: the mesh axes over which the batch is split inside `shard_map`.
      Units may not be split.
    key: an int seed or a JAX key.

  Returns:
    A gradient transformation, whose state is a `RecycleState`. Its `update`
    needs the params. Updates of the leaves of the layers have at least the
    dtype of the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, a layer does not fit the params, or
      `update` is called without the params or without the activations.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import units
    >>> params = {'dense': jnp.ones((3, 2)), 'head': jnp.ones((2, 1))}
    >>> layers = units.chain(params, ['dense', 'head'])
    >>> adam = optax.chain(
    ...   units.scale_by_adam(), optax.scale_by_learning_rate(1e-3)
    ... )
    >>> tx = units.recycle(adam, layers, units.Redo(threshold=0.1), every=1)
    >>> state = tx.init(params)
    >>> h = jnp.array([[0.0, 2.0], [0.0, 3.0]])  # The first unit is dead.
    >>> updates, state = tx.update(
    ...   params, state, params, activations={'dense': h}
    ... )
    >>> print(updates['head'][:, 0])
    [-1.    -0.001]
    >>> print(units.recycled(state)['dense'])
    0.5
  """
  _leaves.check_transformation('inner', inner)
  layers = _layers.check_layers(_OWNER, layers)
  if not isinstance(rule, _rule.Rule):
    raise TypeError(f'rule must be a units.Rule, got {rule!r}.')
  every = _numbers.check_period('every', rule.every if every is None else every)
  initializers = _initializers(init, layers)
  _numbers.check_switch('moments', moments)
  _noise.check_key(key)
  if not _trees.is_names(axis_name):
    raise TypeError(
      'axis_name must be the name of a mesh axis, a tuple of names, or None, '
      f'got {axis_name!r}.'
    )
  axes = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())
  wrapped = optax.with_extra_args_support(inner)
  resets = moments and not rule.keeps_moments

  def init_fn(params):
    leaves = _leaves.flatten(_OWNER, 'params', params)
    placed = _layers.resolve(_OWNER, layers, leaves.like)
    deviations = {
      at.name: tuple(
        _leaves.moments(leaves.like.leaves[i])[1] for i in at.incoming
      )
      for at in placed
      if initializers[at.name] is None
    }
    zeros = lambda: {at.name: jnp.zeros(at.size, jnp.float32) for at in placed}
    kept: list[Any] = [
      {
        at.name: rule.init(layer, at.size)
        for layer, at in zip(layers, placed, strict=False)
      },
      deviations,
      zeros(),
      zeros(),
    ]
    if not len(leaves):
      # One number for each: `optax.tree.map_params`, which has a placeholder
      # for the params, then finds no structure that it could miss.
      kept = [jnp.zeros([], jnp.float32) for _ in kept]
    return RecycleState(
      jnp.zeros([], jnp.int32), _noise.key_data(key), wrapped.init(params),
      *kept,
    )  # fmt: skip

  def update_fn(updates, state, params=None, *, activations=None, **extra_args):
    gradients = _leaves.with_params(_OWNER, updates, params).updates
    if activations is not None:
      extra_args['activations'] = activations  # For one in the other.
    updates, inner_state = wrapped.update(
      updates, state.inner, params, **extra_args
    )
    leaves = _leaves.with_params(_OWNER, updates, params)
    t = optax.safe_increment(state.count)
    if not len(leaves):
      return updates, state._replace(count=t, inner=inner_state)
    placed = _layers.resolve(_OWNER, layers, leaves.updates)
    net = _Net(
      leaves,
      placed,
      lambda: _noise.words(state.key, state.count, len(placed) + len(leaves)),
    )
    seen = net.seen(gradients.leaves, activations, state.count, rule, axes)
    now = rule.at(state.count).cast(jnp.float32)
    observed = {
      name: _like(now.observe(state.rule[name], seen[name]), state.rule[name])
      for name in seen
    }

    def choose():
      made = {name: now.choose(observed[name], seen[name]) for name in seen}
      shares = {name: r.astype(jnp.float32) for name, (r, _) in made.items()}
      return shares, shares, {
        name: _like(after, observed[name]) for name, (_, after) in made.items()
      }  # fmt: skip

    none = jax.tree.map(jnp.zeros_like, state.share)
    if isinstance(every, int) and every == 1:
      shares, last, rule_state = choose()
    else:
      shares, last, rule_state = _rule.when_any(
        t % every == 0, choose, (none, state.share, observed)
      )

    def fresh(at, k, words, like, dtype):
      initializer = initializers[at.name]
      if initializer is None:
        noise = _noise.normal(words, like).astype(like.dtype)
        return state.deviations[at.name][k].astype(like.dtype) * noise
      return jnp.asarray(initializer(_noise.threefry(words), like.shape, dtype))

    def recycled():
      moved, whole = net.recycled(
        shares, fresh, keeps_vectors=rule.keeps_vectors
      )
      if not resets:
        return moved, inner_state
      after = optax.apply_updates(params, leaves.tree(moved))
      mask = leaves.tree(whole)
      return moved, reset_state(wrapped, inner_state, after, mask)

    some = jnp.stack([jnp.any(r > 0) for r in shares.values()])
    moved, inner_state = jax.lax.cond(
      _rule.any_lane(jnp.any(some)),
      recycled,
      lambda: (net.updates, inner_state),
    )
    total = jax.tree.map(jnp.add, state.total, shares)
    return leaves.tree(moved), RecycleState(
      t, state.key, inner_state, rule_state, state.deviations, last, total
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def recycled(opt_state: _types.OptState) -> dict[str, jax.Array]:
  """How often the units of each layer have been recycled, on average.

  Use it to see how much a rule does. It is the mean over units of the sum of r
  since `init`: for the rate of an interval, subtract an earlier reading.

  Args:
    opt_state: any state that holds one of `recycle`, such as that of a chain,
      of wrappers, or of `nnx.Optimizer`.

  Returns:
    A float32 scalar for each layer, by name. ValueError says how many states of
    `recycle` there are, if not one.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import units
    >>> params = {'a': jnp.ones((3, 4)), 'b': jnp.ones((4, 2))}
    >>> layers = units.chain(params, ['a', 'b'])
    >>> tx = units.recycle(optax.sgd(0.1), layers, units.RandomUnits(0.25))
    >>> _, state = tx.update(params, tx.init(params), params)
    >>> print(units.recycled(state)['a'])
    0.25
  """
  state = _state.only_state(
    opt_state, RecycleState, 'units.recycled', 'units.recycle'
  )
  return {name: jnp.mean(total[...]) for name, total in state.total.items()}


class _Net:
  """The leaves at one update, by layers."""

  def __init__(
    self, leaves: _leaves.Leaves, placed: Sequence[_layers.Placed], words: Any
  ) -> None:
    self.placed, self.words = placed, words
    self.params = leaves.like.leaves
    # As wide as the params, which get them, at every update.
    self.updates = list(leaves.updates.leaves)
    # w + u, and what the rest is computed in.
    self.moved: dict[int, jax.Array] = {}
    for i in sorted({i for at in placed for i in at.leaves}):
      u, w = map(jnp.asarray, (self.updates[i], self.params[i]))
      self.updates[i] = u.astype(_arrays.promoted(u.dtype, w.dtype))
      dtype = _arrays.compute_dtype((u, w))
      self.moved[i] = w.astype(dtype) + u.astype(dtype)

  def seen(
    self,
    gradients: Sequence[Any],
    activations: Any,
    count: jax.Array,
    rule: _rule.Rule,
    axes: tuple[str, ...],
  ) -> dict[str, _rule.Seen]:
    """What the rule sees of each layer."""
    seen = {}
    words = self.words()
    for number, at in enumerate(self.placed):
      ends = (*at.incoming, *at.outgoing)
      moved = {i: _as_float32(self.moved[i]) for i in ends}
      raw = {i: _as_float32(gradients[i]) for i in at.incoming}
      _check_invariant(at.name, 'gradients', raw, (), 'average them first')
      h = None
      if rule.uses_activations:
        h = _activations(activations, at, axes)
      seen[at.name] = _rule.Seen(
        h, at.fan_in(raw), at.fan_in(moved), at.fan_out(moved),
        _noise.threefry(words[number]), count, axes,
      )  # fmt: skip
    return seen

  def recycled(
    self, shares: Mapping[str, jax.Array], fresh: Any, *, keeps_vectors: bool
  ) -> tuple[list[Any], list[Any]]:
    """The updates, and which elements are recycled whole, by leaves."""
    new, some, whole = dict(self.moved), {}, {}
    for i, x in new.items():
      some[i] = whole[i] = jnp.zeros_like(x, jnp.bool_)

    def turn(i: int, r: jax.Array, target: jax.Array) -> None:
      r = jnp.broadcast_to(r.astype(new[i].dtype), new[i].shape)
      r = _arrays.placed_like(r, new[i])
      target = _arrays.placed_like(target.astype(r.dtype), new[i])
      part = jnp.where(r > 0, (1 - r) * new[i] + r * target, new[i])
      new[i] = jnp.where(r >= 1, target, part)
      some[i], whole[i] = some[i] | (r > 0), whole[i] | (r >= 1)

    words = self.words()[len(self.placed) :]
    for at in self.placed:
      r = shares[at.name]
      for k, i in enumerate(at.incoming):
        dtype = jnp.result_type(self.params[i])
        turn(i, r, fresh(at, k, words[i], self.moved[i], dtype))
      for i, value in () if keeps_vectors else at.vectors:
        turn(i, r, jnp.full_like(new[i], value))
    for at in self.placed:
      for i in at.outgoing:
        turn(i, at.along_inputs(shares[at.name]), jnp.zeros_like(new[i]))
    updates: list[Any] = list(self.updates)
    masks: list[Any] = [False] * len(updates)
    for i, x in new.items():
      w = jnp.asarray(self.params[i]).astype(x.dtype)
      step = _arrays.downcast(_leaves.held(x - w, x), updates[i])
      updates[i] = jnp.where(some[i], step, updates[i])
      masks[i] = whole[i]
    return updates, masks


def _as_float32(x: Any) -> jax.Array:
  x = jnp.asarray(x)
  if jnp.finfo(x.dtype).bits <= 32:
    return x.astype(jnp.float32)
  return _arrays.downcast(x, jnp.zeros([], jnp.float32))


def _like(state: Any, like: Any) -> Any:
  """The state of a rule, in the dtypes that it has."""
  return jax.tree.map(lambda x, y: jnp.asarray(x).astype(y.dtype), state, like)


def _initializers(
  init: Any, layers: Sequence[_layers.Layer]
) -> dict[str, Initializer | None]:
  """The initializer of each layer; None for the default."""
  names = [layer.name for layer in layers]
  by_layer = init if isinstance(init, Mapping) else dict.fromkeys(names, init)
  for name, function in by_layer.items():
    if name not in names:
      raise ValueError(f'init must be by layers of {names}, got {name!r}.')
    if function is not None and not callable(function):
      raise TypeError(
        'init must be a callable (key, shape, dtype), a mapping of such by '
        f'layer, or None, got {function!r}.'
      )
  return {name: by_layer.get(name) for name in names}


def _activations(
  activations: Any, at: _layers.Placed, axes: tuple[str, ...]
) -> jax.Array:
  """The activations of a layer, [n, H]."""
  if not isinstance(activations, Mapping) or at.name not in activations:
    raise ValueError(
      f'{_OWNER} needs the activations of layer {at.name!r}: call update('
      'updates, state, params, activations={name: h}).'
    )
  h = activations[at.name]
  if not jnp.ndim(h) or jnp.shape(h)[-1] != at.size:
    raise ValueError(
      f'{_OWNER}: the activations of layer {at.name!r} must be [..., '
      f'{at.size}], got shape {jnp.shape(h)}.'
    )
  how = 'name the mesh axes over which the batch is split by axis_name'
  _check_invariant(at.name, 'activations', h, axes, how)
  return _arrays.replicated(_as_float32(h)).reshape(-1, at.size)


def _check_invariant(
  name: str, what: str, arrays: Any, axes: tuple[str, ...], how: str
) -> None:
  """Refuses arrays that differ between devices inside `shard_map`."""
  varying = {
    axis
    for x in jax.tree.leaves(arrays)
    for axis in jax.typeof(x).manual_axis_type.varying
  } - set(axes)
  if varying:
    raise ValueError(
      f'{_OWNER}: the {what} of layer {name!r} differ between the devices of '
      f'mesh axes {sorted(varying)}: {how}.'
    )
