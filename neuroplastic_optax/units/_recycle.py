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
from neuroplastic_optax.units import _rules

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
    deviations: the standard deviation of each incoming kernel at `init`, by its
      path, scalars of at least float32; only where it is drawn with that.
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
  rule: _rules.Rule,
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
  large count, Adam then steps by up to 6.6 times the learning rate, at the 12th
  update after, and by more than 1.2 times for a thousand: use
  `units.scale_by_adam`, which counts for each element.

  Rules with `uses_activations` need what the layers put out on this batch,
  behind their nonlinearity: `tx.update(grads, state, params,
  activations={name: h})`, with h of shape [..., H]. They may come from Linen's
  `sow`, from NNX's `Intermediate`, or be returned by the model. With
  `nnx.Optimizer`, call `optimizer.update(model, grads, activations=...)`;
  `TrainState.apply_gradients` cannot pass them: call `tx.update`. Within
  `optax.MultiSteps` a rule sees the updates that are emitted only, with the
  mean gradient, but with the activations of the last mini-batch.

  Within `optax.masked` and `optax.partition` every leaf of a layer must be
  there. Leaves that the inner optimizer freezes are recycled too. Under
  `inject_hyperparams` put the inner optimizer, or a function that builds the
  whole. Under `vmap` an update at which some lane recycles costs all lanes as
  much. Under `jit` sharded arrays need nothing.

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
  if not isinstance(rule, _rules.Rule):
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
      path: _leaves.moments(leaves.like.leaves[i])[1]
      for layer, at in zip(layers, placed, strict=False)
      for path, i in zip(layer.incoming, at.incoming, strict=True)
      if initializers[layer.name] is None
    }
    zeros = lambda: {at.name: jnp.zeros(at.size, jnp.float32) for at in placed}
    kept = [
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
    net = _Net(leaves, placed, state, initializers, layers)
    seen = net.seen(gradients, activations if rule.uses_activations else None,
                    rule, axes)  # fmt: skip
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
      shares, last, rule_state = _rules.when_any(
        t % every == 0, choose, (none, state.share, observed)
      )

    def recycled():
      moved, whole = net.recycled(shares, keeps_vectors=rule.keeps_vectors)
      if not resets:
        return moved, inner_state
      after = optax.apply_updates(params, leaves.tree(moved))
      mask = leaves.tree(whole)
      return moved, reset_state(wrapped, inner_state, after, mask)

    some = jnp.stack([jnp.any(r > 0) for r in shares.values()])
    moved, inner_state = jax.lax.cond(
      _rules.any_lane(jnp.any(some)),
      recycled,
      lambda: (net.wide_updates, inner_state),
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
    A float32 scalar for each layer, by name.

  Raises:
    ValueError: the state holds no state of `recycle`, or more than one, of
      which the message says how to reach each.

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
    self,
    leaves: _leaves.Leaves,
    placed: Sequence[_layers.Placed],
    state: RecycleState,
    initializers: Mapping[str, Initializer | None],
    layers: Sequence[_layers.Layer],
  ) -> None:
    self.placed, self.state = placed, state
    self.initializers = initializers
    self.paths = {
      i: path
      for layer, at in zip(layers, placed, strict=True)
      for path, i in zip(layer.incoming, at.incoming, strict=True)
    }
    inside = {i for at in placed for i in at.leaves}
    self.params = list(leaves.like.leaves)
    # As wide as the params, which get them, at every update.
    self.wide_updates = [
      u.astype(_arrays.promoted(u.dtype, jnp.result_type(w)))
      if i in inside
      else u
      for i, (u, w) in enumerate(
        zip(leaves.updates.leaves, self.params, strict=True)
      )
    ]
    self.words = lambda: _noise.words(
      state.key, state.count, len(placed) + len(self.params)
    )

  def moved(self, i: int) -> jax.Array:
    """w + u of a leaf."""
    return self._wide(self.params[i], i) + self._wide(self.wide_updates[i], i)

  def _wide(self, x: Any, i: int) -> jax.Array:
    dtype = _arrays.compute_dtype((self.params[i], self.wide_updates[i]))
    return jnp.asarray(x).astype(dtype)

  def seen(
    self,
    gradients: _trees.Flat,
    activations: Mapping[str, Any] | None,
    rule: _rules.Rule,
    axes: tuple[str, ...],
  ) -> dict[str, _rules.Seen]:
    """What the rule sees of each layer."""
    seen = {}
    for number, at in enumerate(self.placed):
      inside = (*at.incoming, *at.outgoing)
      moved = {i: _as_float32(self.moved(i)) for i in inside}
      raw = {i: _as_float32(gradients.leaves[i]) for i in at.incoming}
      h = None
      if rule.uses_activations:
        h = _activations(activations, at, axes)
      _check_invariant(at.name, 'gradients', raw, ())
      words = self.words()[number]
      seen[at.name] = _rules.Seen(
        h, at.fan_in(raw), at.fan_in(moved), at.fan_out(moved),
        _noise.threefry(words), self.state.count, axes,
      )  # fmt: skip
    return seen

  def recycled(
    self, shares: Mapping[str, jax.Array], *, keeps_vectors: bool
  ) -> tuple[list[Any], list[Any]]:
    """The updates, and which elements are recycled whole, by leaves."""
    new = {i: self.moved(i) for at in self.placed for i in at.leaves}
    changed: dict[int, list[jax.Array]] = {i: [] for i in new}
    whole: dict[int, list[jax.Array]] = {i: [] for i in new}

    def turn(i: int, r: jax.Array, target: Any) -> None:
      r = jnp.broadcast_to(r.astype(new[i].dtype), new[i].shape)
      r = _arrays.placed_like(r, new[i])
      part = (1 - r) * new[i] + r * target
      new[i] = jnp.where(r >= 1, target, jnp.where(r > 0, part, new[i]))
      changed[i].append(r > 0)
      whole[i].append(r >= 1)

    words = self.words()[len(self.placed) :]
    for at in self.placed:
      for i in at.incoming:
        turn(i, shares[at.name], self._fresh(at, i, words[i]))
      if not keeps_vectors:
        for i, value in at.vectors:
          turn(i, shares[at.name], jnp.full_like(new[i], value))
    for at in self.placed:
      for i in at.outgoing:
        turn(i, at.along_inputs(shares[at.name]), jnp.zeros_like(new[i]))
    updates, masks = list(self.wide_updates), [False] * len(self.params)
    for i, x in new.items():
      u = self.wide_updates[i]
      step = _leaves.held(x - self._wide(self.params[i], i), x)
      some, all_ = (_any(rows, u) for rows in (changed[i], whole[i]))
      updates[i] = jnp.where(some, _arrays.downcast(step, u), u)
      masks[i] = all_
    return updates, masks

  def _fresh(self, at: _layers.Placed, i: int, words: jax.Array) -> jax.Array:
    """Fresh weights for a whole leaf."""
    like = self.moved(i)
    initializer = self.initializers[at.name]
    if initializer is None:
      deviation = self.state.deviations[self.paths[i]].astype(like.dtype)
      fresh = deviation * _noise.normal(words, like).astype(like.dtype)
      return _arrays.placed_like(fresh, like)
    dtype = jnp.result_type(self.params[i])
    fresh = jnp.asarray(initializer(_noise.threefry(words), like.shape, dtype))
    if fresh.shape != like.shape:
      raise ValueError(
        f'{_OWNER}: init must return an array of shape {like.shape} for '
        f'{self.paths[i]!r}, got shape {fresh.shape}.'
      )
    return _arrays.placed_like(fresh.astype(like.dtype), like)


def _any(rows: Sequence[jax.Array], like: jax.Array) -> jax.Array:
  """Whether any of these holds, for each element."""
  some = jnp.zeros_like(like, jnp.bool_)
  for row in rows:
    some |= row
  return some


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
  _check_invariant(at.name, 'activations', h, axes)
  return _arrays.replicated(_as_float32(h)).reshape(-1, at.size)


def _check_invariant(
  name: str, what: str, arrays: Any, axes: tuple[str, ...]
) -> None:
  """Refuses arrays that differ between devices inside `shard_map`."""
  varying = {
    axis
    for x in jax.tree.leaves(arrays)
    for axis in jax.typeof(x).manual_axis_type.varying
  }
  if varying - set(axes):
    how = (
      'name the mesh axes over which the batch is split by axis_name'
      if what == 'activations'
      else 'average them first'
    )
    raise ValueError(
      f'{_OWNER}: the {what} of layer {name!r} differ between the devices of '
      f'mesh axes {sorted(varying - set(axes))}: {how}.'
    )
