"""Shrink and perturb: weights are made smaller and noisy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class ShrinkAndPerturbState(NamedTuple):
  """The state of `shrink_and_perturb`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array


def shrink_and_perturb(
  shrink: _types.ScalarOrSchedule = 1e-4,
  perturb: _types.ScalarOrSchedule = 1e-4,
  every: int = 1,
  mask: Any = None,
  *,
  key: Any = 0,
  axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Shrinks the params and adds noise to them.

  Use it against loss of plasticity, at every update or now and then, such as
  when new data arrive. Chain it last, after the learning rate, which does not
  multiply it there. With w the params, g what would be added to them, and ξ
  standard normal, drawn anew each time, at every `every`-th update

      u = g - shrink·w + perturb·ξ

  and u = g elsewhere.

  Published numbers are told in other ways. Ash and Adams multiply w by their λ:
  `shrink` is 1 - λ. The program of UPGD, in which shrink and perturb runs at
  every update, multiplies both terms by the learning rate η: from its weight
  decay d and noise s, `shrink` is η·d and `perturb` is η·s.

  Args:
    shrink: the part of w that is taken away, ≥ 0, a number or a schedule of the
      update count.
    perturb: the standard deviation of the noise, ≥ 0, a number or a schedule.
    every: n ≥ 1, a Python integer: it acts at updates n, 2n, 3n and so on.
    mask: the leaves to act on, as in `optax.masked`. None for all.
    key: an int seed or a JAX key.
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`, so that all parts get noise
      of their own.

  Returns:
    A gradient transformation, whose state is a `ShrinkAndPerturbState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, or `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   optax.sgd(0.1),
    ...   mechanisms.shrink_and_perturb(shrink=0.5, perturb=0.0, every=2),
    ... )
    >>> params = jnp.array([1.0])
    >>> state = tx.init(params)
    >>> for _ in range(4):
    ...   updates, state = tx.update(jnp.zeros(1), state, params)
    ...   params = optax.apply_updates(params, updates)
    ...   print(params)
    [1.]
    [0.5]
    [0.5]
    [0.25]

  References:
    Ash and Adams, `On Warm-Starting Neural Network Training
    <https://arxiv.org/abs/1910.08475>`_, 2020

    Dohare et al., `Loss of Plasticity in Deep Continual Learning
    <https://doi.org/10.1038/s41586-024-07711-7>`_, 2024
  """
  numbers = _numbers.Numbers(
    shrink=(shrink, _numbers.NON_NEGATIVE.scheduled),
    perturb=(perturb, _numbers.NON_NEGATIVE.scheduled),
  )
  every = _numbers.check_period('every', every)
  _trees.check_mask('mask', mask)
  _noise.check_key(key)
  _trees.check_axis_name(axis_name)

  def init_fn(params: _types.Params) -> ShrinkAndPerturbState:
    _leaves.flatten('shrink_and_perturb', 'params', params)
    return ShrinkAndPerturbState(jnp.zeros([], jnp.int32), _noise.key_data(key))

  def update_fn(
    updates: _types.Updates,
    state: ShrinkAndPerturbState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, ShrinkAndPerturbState]:
    del extra_args
    flat = _leaves.flatten('shrink_and_perturb', 'updates', updates)
    weights = _leaves.params_of('shrink_and_perturb', flat, params)
    like = _trees.Flat(weights, flat.treedef)
    t = optax.safe_increment(state.count)
    pairs = _noise.words(
      state.key, state.count, _trees.axis_names(axis_name, like)
    )

    def step(now: _numbers.Numbers, g: Any, w: Any, pair: Any) -> tuple[Any]:
      if isinstance(every, int) and every == 1:
        return (_acted(now, g, w, pair),)
      # A conditional, so that noise is drawn only where it is used.
      acted = jax.lax.cond(
        t % every == 0, lambda: _acted(now, g, w, pair), lambda: g
      )
      return (acted,)

    leaves, _ = _leaves.advance(
      step,
      numbers.at(state.count),
      flat.leaves,
      reads=[weights],
      extras=[pairs],
      inside=_trees.mask('mask', mask, like),
    )
    return flat.unflatten(leaves), ShrinkAndPerturbState(t, state.key)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _acted(
  now: _numbers.Numbers, g: jax.Array, w: jax.Array, pair: jax.Array
) -> jax.Array:
  u = g
  if not _numbers.is_zero(now.shrink):
    u = u - now.shrink * w
  if not _numbers.is_zero(now.perturb):
    u = u + now.perturb * _noise.normal(pair, g).astype(g.dtype)
  return u
