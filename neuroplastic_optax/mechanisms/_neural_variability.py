"""Neural variability: training with params that are always a little noisy."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class NeuralVariabilityState(NamedTuple):
  """The state of `neural_variability`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    noise: ε, what the params that the user holds have too much: a tree like
      them, 0 at `init`. For params narrower than float32 it is θ itself, the
      params without noise, in float32. `optax.MaskedNode` for leaves that get
      no noise.
    inner: the state of the inner transformation.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  noise: _types.Params
  inner: _types.OptState


def neural_variability(
  inner: optax.GradientTransformation,
  scale: _types.ScalarOrSchedule = 0.01,
  distribution: Literal['normal', 'laplace', 'uniform'] = 'normal',
  refresh: int = 1,
  mask: Any = None,
  *,
  key: Any = 0,
  axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Trains at noisy params, and keeps the clean ones for evaluation.

  Use it to find params whose loss does not depend on their exact values, as a
  regulariser against noisy labels and forgetting (NVRM). Wrap it around a
  complete optimizer, as the outermost transformation. The params that you hold,
  and at which gradients are taken, are p = θ + ε; the state holds ε, so that
  θ = `eval_params(state, p)`. With g the gradient at p,

      u = inner(g, at p) - ε_old + ε_new

  where ε is 0 at `init`, and drawn anew at updates 1, 1 + n, 1 + 2n and so on,
  with n = `refresh`; else it is kept. The inner transformation sees p.

  `refresh` is ours. The published program has `num_iters` instead, after which
  it removes the noise.

  In float32 the differences of ε that are added to p round, by about one part
  in 10⁷ each. For params narrower than float32 such errors would add up, so
  there the state holds θ itself in float32, and u is what takes p to the
  rounded θ + ε. This also lets θ take steps that its own dtype would lose.

  Args:
    inner: the optimizer.
    scale: the size of ε, ≥ 0, a number or a schedule of the update count: its
      standard deviation if "normal", its scale if "laplace", its bound if
      "uniform".
    distribution: of the elements of ε, "normal", "laplace" or "uniform".
    refresh: n ≥ 1, a Python integer: for how many updates noise is kept.
    mask: the leaves that get noise, as in `optax.masked`. None for all.
    key: an int seed or a JAX key.
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`, so that all parts get noise
      of their own.

  Returns:
    A gradient transformation, whose state is a `NeuralVariabilityState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, `distribution` is unknown, or `update`
      is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.neural_variability(optax.sgd(0.1), scale=0.5)
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> updates, state = tx.update(jnp.array([2.0]), state, params)
    >>> params = optax.apply_updates(params, updates)  # Noisy.
    >>> print(f'{mechanisms.eval_params(state, params)[0]:.2f}')
    0.80

  References:
    Xie et al., `Artificial Neural Variability for Deep Learning
    <https://arxiv.org/abs/2011.06220>`_, 2020
  """
  _leaves.check_transformation('inner', inner)
  numbers = _numbers.Numbers(
    scale=(scale, _numbers.NON_NEGATIVE.scheduled),
  )
  _numbers.check_choice(
    'distribution', distribution, ('normal', 'laplace', 'uniform')
  )
  refresh = _numbers.check_period('refresh', refresh)
  _trees.check_mask('mask', mask)
  _noise.check_key(key)
  _trees.check_axis_name(axis_name)
  wrapped = optax.with_extra_args_support(inner)
  draw = _noise.DISTRIBUTIONS[distribution]

  def noisy(flat: _trees.Flat) -> list[bool]:
    """Which leaves get noise; none if its scale is known to be 0."""
    if _numbers.is_zero(scale):
      return [False] * len(flat.leaves)
    return _trees.mask('mask', mask, flat)

  def init_fn(params: _types.Params) -> NeuralVariabilityState:
    flat = _leaves.flatten('neural_variability', 'params', params)
    noise = [
      _first(leaf) if taken else optax.MaskedNode()
      for leaf, taken in zip(flat.leaves, noisy(flat), strict=True)
    ]
    return NeuralVariabilityState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      flat.unflatten(noise),
      wrapped.init(params),
    )

  def update_fn(
    updates: _types.Updates,
    state: NeuralVariabilityState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, NeuralVariabilityState]:
    _leaves.flatten('neural_variability', 'updates', updates)
    if params is None:
      _leaves.params_of('neural_variability', _trees.flatten(updates), params)
    updates, inner_state = wrapped.update(
      updates, state.inner, params, **extra_args
    )
    flat = _leaves.flatten('neural_variability', 'updates', updates)
    like = _trees.Flat(flat.align('params', params), flat.treedef)
    old = flat.align('state.noise', state.noise)
    now = numbers.at(state.count)
    pairs = _noise.words(
      state.key, state.count, _trees.axis_names(axis_name, like)
    )
    leaves, noise = _moved(
      flat.leaves,
      like.leaves,
      old,
      pairs,
      lambda pair, like: _drawn(now, draw, refresh, state.count, pair, like),
    )
    return flat.unflatten(leaves), NeuralVariabilityState(
      optax.safe_increment(state.count),
      state.key,
      flat.unflatten(noise),
      inner_state,
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def is_narrow(leaf: Any) -> bool:
  """Whether the state holds θ of such params, not ε."""
  return bool(jnp.finfo(jnp.result_type(leaf)).bits < 32)


def _first(leaf: Any) -> Any:
  """What the state holds of a leaf at `init`."""
  if leaf is None:
    return None
  if is_narrow(leaf):
    return _leaves.copied(leaf)
  return jnp.zeros_like(leaf, dtype=_leaves.wide_dtype(leaf))


def _drawn(
  now: _numbers.Numbers,
  draw: _noise.Draw,
  refresh: int | jax.Array,
  count: jax.Array,
  pair: jax.Array,
  kept: jax.Array,
) -> jax.Array:
  """ε after this update, of the dtype of the ε before, `kept`."""

  def anew() -> jax.Array:
    scale = now.cast(kept.dtype).scale
    # A sum with what is replaced, so that both branches have one type also
    # where devices hold parts of an array.
    return scale * draw(pair, kept).astype(kept.dtype) + 0 * kept

  if isinstance(refresh, int) and refresh == 1:
    return anew()
  return jax.lax.cond(count % refresh == 0, anew, lambda: kept)


def _moved(
  updates: Sequence[Any],
  params: Sequence[Any],
  old: Sequence[Any],
  pairs: Sequence[jax.Array],
  anew: Any,
) -> tuple[list[Any], list[Any]]:
  """The updates with their noise, and what the state holds of it."""
  leaves: list[Any] = []
  kept: list[Any] = []
  for u, p, before, pair in zip(updates, params, old, pairs, strict=True):
    after = before
    if not isinstance(before, optax.MaskedNode) and not _leaves.is_absent(u):
      u, p = jnp.asarray(u), jnp.asarray(p)
      dtype = _arrays.compute_dtype((u, p, before))
      step, at, held = _arrays.upcast((u, p, before), dtype)
      if is_narrow(p):
        after = held + step
        noise = anew(pair, at - held)
        moved = (after - at) + noise
      else:
        after = anew(pair, held)
        moved = step + (after - held)
      u = _arrays.downcast(_leaves.held(moved, step), u)
      after = _arrays.downcast(_leaves.finite(after), before)
    leaves.append(u)
    kept.append(after)
  return leaves, kept
