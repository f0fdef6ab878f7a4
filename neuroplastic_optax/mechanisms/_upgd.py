"""UPGD: useful weights are protected, useless ones are perturbed."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _kernels
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class ScaleByUpgdState(NamedTuple):
  """The state of `scale_by_upgd`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    utility: U, a tree like the params, at least float32; not bias-corrected.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  utility: _types.Updates


def scale_by_upgd(
  decay: _types.ArrayLike = 0.999,
  noise: _types.ScalarOrSchedule = 1e-3,
  scaling: Literal['global', 'local'] = 'global',
  protect: bool = True,
  bias_correction: bool = True,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
  axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Protects useful weights, and perturbs useless ones.

  Use it in continual learning against both forgetting and loss of plasticity:
  what the loss depends on moves little, and the rest is kept in motion by
  noise. Chain it before the learning rate. With w the params, g the incoming
  gradient and ξ standard normal, drawn anew at every update,

      U ← β·U - (1 - β)·g ⊙ w        the utility: what the loss would gain
      Û = U / (1 - βᵗ)                if the weight were 0, to first order
      q = σ(Û / M)
      u = (g + noise·ξ) ⊙ (1 - q)

  where σ is the logistic function. With "global" scaling M is the largest
  element of Û over all leaves, or 1 where that is not positive. With "local"
  scaling, Û / M is Û / (‖Û‖ + 1e-12), the norm being taken along the input axis
  of a kernel [..., in, out], or over the whole of a leaf of rank less than 2.
  With `protect=False` only the noise is gated: u = g + noise·ξ ⊙ (1 - q).

  The published program divides Û by the largest element of the *uncorrected* U
  under "global" scaling, which inflates the argument of σ by 1 / (1 - βᵗ) in
  early updates. `bias_correction=False` does that; "local" scaling has no such
  difference. The paper's weight decay is `optax.add_decayed_weights`.

  Args:
    decay: β in [0, 1), the decay of the utility.
    noise: the standard deviation of the noise, ≥ 0, a number or a schedule of
      the update count. It is added to the gradient, so that the learning rate
      multiplies it.
    scaling: "global" or "local".
    protect: whether the gradient is gated, too.
    bias_correction: whether M is made of the corrected Û; False as published.
    key: an int seed or a JAX key.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. It matters to "local" scaling.
    axis_name: the mesh axis name or names over which leaves are split inside
      `shard_map` or `pmap`, as in `neuroplastic`. With "local" scaling they
      must split the input axis; name no axis over which output units are split.

  Returns:
    A gradient transformation, whose state is a `ScaleByUpgdState`. Its `update`
    needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, `scaling` is unknown,
      or `update` is called without params.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   mechanisms.scale_by_upgd(noise=0.0), optax.scale_by_learning_rate(0.1)
    ... )
    >>> f = lambda x: jnp.sum((x - jnp.array([3.0, 0.0])) ** 2)
    >>> params = jnp.array([1.0, 1.0])
    >>> state = tx.init(params)
    >>> updates, _ = tx.update(jax.grad(f)(params), state, params)
    >>> print([f'{u:.2f}' for u in updates])  # The first weight is useful.
    ['0.11', '-0.12']

  References:
    Elsayed and Mahmood, `Addressing Loss of Plasticity and Catastrophic
    Forgetting in Continual Learning <https://arxiv.org/abs/2404.00781>`_, 2024
  """
  numbers = _numbers.Numbers(
    decay=(decay, _numbers.DECAY),
    noise=(noise, _numbers.NON_NEGATIVE.scheduled),
  )
  _numbers.check_choice('scaling', scaling, ('global', 'local'))
  _numbers.check_switch('protect', protect)
  _numbers.check_switch('bias_correction', bias_correction)
  _noise.check_key(key)
  _trees.check_stacked_axes(stacked_axes)
  _trees.check_axis_name(axis_name)

  def init_fn(params: _types.Params) -> ScaleByUpgdState:
    flat = _leaves.flatten('scale_by_upgd', 'params', params)
    return ScaleByUpgdState(
      jnp.zeros([], jnp.int32), _noise.key_data(key), _leaves.zeros(flat)
    )

  def update_fn(
    updates: _types.Updates,
    state: ScaleByUpgdState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, ScaleByUpgdState]:
    del extra_args
    flat = _leaves.flatten('scale_by_upgd', 'updates', updates)
    weights = _leaves.params_of('scale_by_upgd', flat, params)
    like = _trees.Flat(weights, flat.treedef)
    names = _trees.axis_names(axis_name, like)
    now = numbers.at(state.count)
    t = optax.safe_increment(state.count)
    _, (utility,) = _leaves.advance(
      _remember,
      now,
      flat.leaves,
      reads=[weights],
      keeps=[flat.align('state.utility', state.utility)],
    )
    largest = None
    if scaling == 'global':
      largest = _largest(flat.leaves, utility, names)

    def step(
      now: _numbers.Numbers,
      g: Any,
      utility: Any,
      pair: Any,
      stacked: int,
      names: Any,
    ) -> tuple[Any]:
      bias = _leaves.bias(now.decay, t, g.dtype)
      if largest is None:
        # Û / (‖Û‖ + 1e-12), where 1 - βᵗ cancels but for the constant.
        norm = _kernels.norms(utility, _kernels.input_axis(g, stacked), names)
        divisor = norm + 1e-12 * bias
      else:
        divisor = _divisor(largest.astype(g.dtype), bias, bias_correction)
      tiny = float(jnp.finfo(g.dtype).tiny)
      # By products, which are cheaper than divisions; 1 - σ(x) is σ(-x).
      useless = jax.nn.sigmoid(utility * (-1 / jnp.maximum(divisor, tiny)))
      return (_gated(now, g, useless, pair, protect),)

    leaves, _ = _leaves.advance(
      step,
      now,
      flat.leaves,
      reads=[utility],
      extras=[
        _noise.words(state.key, state.count, names),
        _trees.stacked(stacked_axes, like),
        names,
      ],
    )
    return flat.unflatten(leaves), ScaleByUpgdState(
      t, state.key, flat.unflatten(utility)
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _remember(
  now: _numbers.Numbers, g: jax.Array, w: jax.Array, utility: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The utility after this update; the first value is not used."""
  gain = _leaves.product(g, w)
  return g, now.decay * utility - (1 - now.decay) * gain


def _largest(
  updates: Sequence[Any],
  utility: Sequence[Any],
  names: Sequence[tuple[str, ...] | None],
) -> jax.Array:
  """The largest element of U over all leaves, in the widest of their dtypes."""
  present = [
    _arrays.Sums(axes).max(each)
    for g, each, axes in zip(updates, utility, names, strict=True)
    if not _leaves.is_absent(g)
  ]
  if not present:
    return jnp.zeros([], jnp.float32)
  dtype = (
    jnp.float64
    if any(x.dtype == jnp.float64 for x in present)
    else (jnp.float32)
  )
  most = present[0].astype(dtype)
  for each in present[1:]:
    most = jnp.maximum(most, each.astype(dtype))
  return most


def _divisor(most: jax.Array, bias: jax.Array, corrected: bool) -> jax.Array:
  """What U is divided by, given its largest element, for Û / M."""
  positive = most >= float(jnp.finfo(most.dtype).tiny)
  if corrected:  # 1 - βᵗ cancels.
    return jnp.where(positive, most, bias)
  return bias * jnp.where(positive, most, jnp.ones_like(most))


def _gated(
  now: _numbers.Numbers,
  g: jax.Array,
  useless: jax.Array,
  pair: jax.Array,
  protect: bool,
) -> jax.Array:
  """The update, given 1 - q."""
  if _numbers.is_zero(now.noise):
    return g * useless if protect else g
  noise = now.noise * _noise.normal(pair, g).astype(g.dtype)
  return (g + noise) * useless if protect else g + noise * useless
