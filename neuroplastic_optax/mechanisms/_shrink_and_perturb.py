"""Shrink and perturb: weights are made smaller and noisy."""

from typing import Any, Literal, NamedTuple

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
    deviations: with `noise="init"`, a tuple of the standard deviation of each
      leaf at `init`; else None.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  deviations: Any = None


def shrink_and_perturb(
  shrink: _types.ScalarOrSchedule = 1e-4,
  perturb: _types.ScalarOrSchedule = 1e-4,
  every: int | _types.ArrayLike = 1,
  noise: Literal['normal', 'init'] = 'normal',
  mask: Any = None,
  *,
  key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
  """Shrinks the params and adds noise to them.

  Use it against loss of plasticity, at every update or now and then, such as
  when new data arrive. Chain it last, after the learning rate, which does not
  multiply it there. With w the params, g what would be added to them, and ξ
  standard normal, drawn anew each time, at every `every`-th update

      u = g - shrink·w + perturb·ξ

  and u = g elsewhere.

  Published numbers are told in other ways. Ash and Adams multiply w by their λ:
  `shrink` is 1 - λ. Their program adds a part of a *fresh initialisation*:
  `noise="init"` does so, where ξ has the standard deviation that the leaf had
  at `init`. Standard normal noise of the same number is about fifty times
  stronger at a fan-in of 784, and it reaches the scales of normalisation too,
  whose deviation at `init` is 0. The program of UPGD, in which shrink and
  perturb runs at every update, multiplies both terms by the learning rate η:
  from its weight decay d and noise s, `shrink` is η·d and `perturb` is η·s.

  Since no learning rate multiplies them, the defaults are large beside small
  steps: with Adam at 2.5e-4, `perturb` moves each weight by .4 of a step at
  every update, and `shrink` is a weight decay of .4. For PPO on CartPole that
  halved the return. Multiply both by the learning rate there.

  Args:
    shrink: the part of w that is taken away, ≥ 0, a number or a schedule of the
      update count.
    perturb: the standard deviation of the noise, ≥ 0, a number or a schedule.
    every: n ≥ 1, an integer: it acts at updates n, 2n, 3n and so on.
    noise: "normal" for standard normal ξ; "init" for ξ of the standard
      deviation of the leaf at `init`.
    mask: the leaves to act on, as in `optax.masked`. None for all.
    key: an int seed or a JAX key.

  Returns:
    A gradient transformation, whose state is a `ShrinkAndPerturbState`. Its
    `update` needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, `noise` is unknown, or `update` is
      called without params.

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
  _numbers.check_choice('noise', noise, ('normal', 'init'))
  _trees.check_mask('mask', mask)
  _noise.check_key(key)
  is_init = noise == 'init'

  def init_fn(params):
    leaves = _leaves.flatten('shrink_and_perturb', 'params', params)
    deviation = lambda leaf: _leaves.moments(leaf)[1]
    return ShrinkAndPerturbState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      leaves.per_leaf(leaves.each(deviation)) if is_init else None,
    )

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('shrink_and_perturb', updates, params)
    t = optax.safe_increment(state.count)

    def step(now, g, w, words, *deviation):
      def acted():
        u = g
        if not _numbers.is_zero(now.shrink):
          u = u - now.shrink * w
        if not _numbers.is_zero(now.perturb):
          size = now.perturb
          for x in deviation:
            size = size * x.astype(g.dtype)
          u = u + size * _noise.normal(words, g).astype(g.dtype)
        return u

      return _leaves.now_and_then(every, t, acted, g)

    updates, _ = leaves.map(
      step,
      numbers.at(state.count),
      extras=[
        _noise.words(state.key, state.count, len(leaves)),
        *([leaves.of_leaves(state.deviations)] if is_init else []),
      ],
      inside=leaves.mask(mask),
    )
    return updates, state._replace(count=t)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
