"""UPGD: useful weights are protected, useless ones are perturbed."""

from collections.abc import Sequence
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _layers
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise

_OWNER = 'scale_by_upgd'


class ScaleByUpgdState(NamedTuple):
  """The state of `scale_by_upgd`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
    utility: U, a tree like the params, at least float32; not bias-corrected.
      With `units`, a tuple with an array [H] for each layer.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array
  utility: Any


def scale_by_upgd(
  decay: _types.ArrayLike = 0.999,
  noise: _types.ScalarOrSchedule = 1e-3,
  scaling: Literal['global', 'local'] = 'global',
  protect: bool = True,
  bias_correction: bool = True,
  scale: _types.ScalarOrSchedule = 1.0,
  units: Sequence[_layers.Layer] | None = None,
  *,
  key: Any = 0,
  stacked_axes: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Protects useful weights, and perturbs useless ones.

  Use it in continual learning against both forgetting and loss of plasticity:
  what the loss depends on moves little, and the rest is kept in motion by
  noise. Chain it before the learning rate. With w the params, g the incoming
  gradient and ξ standard normal, drawn anew at every update,

      U ← β·U - (1 - β)·g ⊙ w        the utility: what the loss would gain
      Û = U / (1 - βᵗ)                if the weight were 0, to first order
      q = σ(Û / M)
      u = scale·(g + noise·ξ) ⊙ (1 - q)

  where σ is the logistic function. With "global" scaling M is the largest
  element of Û over all leaves, or 1 where that is not positive. With "local"
  scaling, Û / M is Û / (‖Û‖ + 1e-12), the norm being taken along the input axis
  of a kernel [..., in, out], or over the whole of a leaf of rank less than 2.
  With `protect=False` only the noise is gated: g + noise·ξ ⊙ (1 - q).

  With `units`, the utility is that of a unit: with K_out its outgoing weights
  and G_out their gradients, m_j = -Σ K_out[j] ⊙ G_out[j], minus the gradient of
  a gate on it, takes the place of -g ⊙ w. The incoming kernels and the vectors
  of a unit share its gate; M is the largest over all units, and with "local"
  scaling the norm is that over the layer. The other leaves get u = g: no gate,
  no noise, no `scale`.

  Algorithm 1 of the paper has the corrected Û throughout, as ours by default.
  The published program divides Û by the largest element of the *uncorrected* U
  under "global" scaling, which inflates the argument of σ by 1 / (1 - βᵗ) in
  early updates. `bias_correction=False` does that; "local" scaling has no such
  difference.

  A weight of no use keeps half its step, since σ(0) is ½: the authors' class
  steps by twice its learning rate, which is `scale=2.0`. Their weight decay
  comes after the gate: `optax.add_decayed_weights` behind this in the chain.

  Args:
    decay: β in [0, 1), the decay of the utility.
    noise: the standard deviation of the noise, ≥ 0, a number or a schedule of
      the update count. It is added to the gradient, so that the learning rate
      multiplies it.
    scaling: "global" or "local".
    protect: whether the gradient is gated, too.
    bias_correction: whether M is made of the corrected Û; False as in the
      published program.
    scale: what u is multiplied by, ≥ 0, a number or a schedule; 2 as in the
      authors' class.
    units: layers of units (`units.Layer`), for utilities of units; None for
      those of single weights.
    key: an int seed or a JAX key.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in `neuroplastic`. It matters to "local" scaling.

  Returns:
    A gradient transformation, whose state is a `ScaleByUpgdState`. Its `update`
    needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, `scaling` is unknown,
      a layer does not fit the params, or `update` is called without params.

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
    scale=(scale, _numbers.NON_NEGATIVE.scheduled),
  )
  _numbers.check_choice('scaling', scaling, ('global', 'local'))
  _numbers.check_switch('protect', protect)
  _numbers.check_switch('bias_correction', bias_correction)
  layers = None if units is None else _layers.check_layers(_OWNER, units)
  _noise.check_key(key)
  _trees.check_stacked_axes(stacked_axes)

  def init_fn(params):
    leaves = _leaves.flatten(_OWNER, 'params', params)
    if layers is None:
      utility = leaves.zeros()
    else:
      placed = _layers.resolve(_OWNER, layers, leaves.like)
      utility = leaves.per_leaf(
        [jnp.zeros(at.size, jnp.float32) for at in placed]
      )
    return ScaleByUpgdState(
      jnp.zeros([], jnp.int32), _noise.key_data(key), utility
    )

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params(_OWNER, updates, params)
    now = numbers.at(state.count)
    t = optax.safe_increment(state.count)
    if not len(leaves):
      return updates, state._replace(count=t)
    # Of every leaf: U of its elements or units, and over which axes the norm of
    # "local" scaling goes.
    if layers is None:
      utility = _remembered(leaves, now, state.utility)
      of_leaves = [
        None if _leaves.is_absent(g) else each
        for g, each in zip(
          leaves.updates.leaves, leaves.align(utility), strict=True
        )
      ]
      axes = leaves.each(_input_axes, leaves.stacked(stacked_axes))
      inside = None
    else:
      placed = _layers.resolve(_OWNER, layers, leaves.updates)
      utility = _of_units(leaves, placed, now, state.utility)
      of_leaves, axes = [None] * len(leaves), [(0,)] * len(leaves)
      for at, each in zip(placed, utility, strict=True):
        for i in at.fed:
          of_leaves[i] = each
      inside = [each is not None for each in of_leaves]
    largest = _largest(of_leaves) if scaling == 'global' else None

    def step(now, g, _, utility, words, axes):
      bias = _leaves.bias(now.decay, t, g.dtype)
      tiny = float(jnp.finfo(g.dtype).tiny)
      utility = utility.astype(g.dtype)
      # What U is divided by for Û / M; 1 - βᵗ cancels but for the constants.
      if largest is None:
        norm = _leaves.norms(utility, axes)
        divisor = norm + 1e-12 * bias
      else:
        most = largest.astype(g.dtype)
        if bias_correction:
          divisor = jnp.where(most >= tiny, most, bias)
        else:
          divisor = bias * jnp.where(most >= tiny, most, jnp.ones_like(most))
      # By products, which are cheaper than divisions; 1 - σ(x) is σ(-x).
      useless = jax.nn.sigmoid(utility * (-1 / jnp.maximum(divisor, tiny)))
      if _numbers.is_zero(now.noise):
        u = g * useless if protect else g
      else:
        noise = now.noise * _noise.normal(words, g).astype(g.dtype)
        u = (g + noise) * useless if protect else g + noise * useless
      is_one = _numbers.is_known(now.scale) and now.scale == 1
      return u if is_one else now.scale * u

    updates, _ = leaves.map(
      step,
      now,
      extras=[
        of_leaves,
        _noise.words(state.key, state.count, len(leaves)),
        axes,
      ],
      inside=inside,
    )
    return updates, ScaleByUpgdState(t, state.key, utility)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _remembered(
  leaves: _leaves.Leaves, now: _numbers.Numbers, utility: Any
) -> Any:
  """U of every element."""

  def remember(now, g, w, utility):
    gain = _leaves.product(g, w)
    return g, now.decay * utility - (1 - now.decay) * gain

  return leaves.map(remember, now, keeps=[utility])[1][0]


def _of_units(
  leaves: _leaves.Leaves,
  placed: Sequence[_layers.Placed],
  now: _numbers.Numbers,
  utility: Sequence[jax.Array],
) -> tuple[jax.Array, ...]:
  """U of every unit, [H] for each layer."""
  new = []
  for at, old in zip(placed, utility, strict=True):
    gradients = {i: leaves.updates.leaves[i] for i in at.outgoing}
    params = {i: leaves.like.leaves[i] for i in at.outgoing}
    dtype = _arrays.compute_dtype((gradients, params))
    g, w = (at.fan_out(_arrays.upcast(x, dtype)) for x in (gradients, params))
    gain = _leaves.finite(jnp.sum(_leaves.product(g, w), axis=(0, 2)))
    decay = now.cast(dtype).decay
    u = decay * old.astype(dtype) - (1 - decay) * gain
    new.append(_arrays.downcast(u, old))
  return tuple(new)


def _input_axes(leaf: jax.Array, stacked: int) -> tuple[int, ...]:
  """The input axis of a kernel; all axes of a vector or a scalar."""
  axes = _leaves.axes(leaf, stacked)
  return axes[-2:-1] if len(axes) > 1 else axes


def _largest(utilities: Sequence[Any]) -> jax.Array:
  """The largest element of U over all leaves, in the widest of their dtypes."""
  found = [jnp.max(x) for x in utilities if x is not None]
  if not found:
    return jnp.zeros([], jnp.float32)
  dtype = _arrays.compute_dtype(found)
  return functools.reduce(jnp.maximum, [x.astype(dtype) for x in found])
