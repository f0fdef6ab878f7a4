"""Neural variability: training with params that are always a little noisy."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

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
  refresh: int | _types.ArrayLike = 1,
  mask: Any = None,
  *,
  key: Any = 0,
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
    refresh: n ≥ 1, an integer: for how many updates noise is kept.
    mask: the leaves that get noise, as in `optax.masked`. None for all.
    key: an int seed or a JAX key.

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
  numbers = _numbers.Numbers(scale=(scale, _numbers.NON_NEGATIVE.scheduled))
  _numbers.check_choice(
    'distribution', distribution, ('normal', 'laplace', 'uniform')
  )
  refresh = _numbers.check_period('refresh', refresh)
  _trees.check_mask('mask', mask)
  _noise.check_key(key)
  wrapped = optax.with_extra_args_support(inner)
  draw = _noise.DISTRIBUTIONS[distribution]
  owner = 'neural_variability'

  def init_fn(params):
    leaves = _leaves.flatten(owner, 'params', params)
    taken = leaves.mask(mask)
    if _numbers.is_zero(scale):
      taken = [False] * len(leaves)

    def first(leaf):
      copy = _leaves.copied(leaf)
      return copy if is_narrow(leaf) else jnp.zeros_like(copy)

    noise = [
      x if inside else optax.MaskedNode()
      for x, inside in zip(leaves.each(first), taken, strict=True)
    ]
    return NeuralVariabilityState(
      jnp.zeros([], jnp.int32),
      _noise.key_data(key),
      leaves.tree(noise),
      wrapped.init(params),
    )

  def update_fn(updates, state, params=None, **extra_args):
    _leaves.with_params(owner, updates, params)
    updates, inner_state = wrapped.update(
      updates, state.inner, params, **extra_args
    )
    leaves = _leaves.with_params(owner, updates, params)

    def anew(now, words, kept):
      # A sum with what is replaced, so that both branches have one type also
      # where devices hold parts of an array.
      act = lambda: now.scale * draw(words, kept).astype(kept.dtype) + 0 * kept
      return _leaves.now_and_then(refresh, state.count, act, kept)

    def step(now, u, p, before, words, narrow):
      if narrow:
        after = before + u
        return (after - p) + anew(now, words, p - before), after
      after = anew(now, words, before)
      return u + (after - before), after

    updates, (noise,) = leaves.map(
      step,
      numbers.at(state.count),
      keeps=[state.noise],
      extras=[
        _noise.words(state.key, state.count, len(leaves)),
        leaves.each(is_narrow),
      ],
      inside=[
        not isinstance(x, optax.MaskedNode) for x in leaves.align(state.noise)
      ],
    )
    return updates, NeuralVariabilityState(
      optax.safe_increment(state.count), state.key, noise, inner_state
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def is_narrow(leaf: Any) -> bool:
  """Whether the state holds θ of such params, not ε."""
  return bool(jnp.finfo(jnp.result_type(leaf)).bits < 32)
