"""L2 Init: weights are pulled back to where they began."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves


class RegenerateState(NamedTuple):
  """The state of `regenerate`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    anchor: w₀, a copy of the params at `init`, at least float32;
      `optax.MaskedNode` for leaves outside the mask.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  anchor: _types.Params


def regenerate(
  strength: _types.ScalarOrSchedule = 1e-3,
  norm: Literal['l2', 'l1', 'wasserstein'] = 'l2',
  mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """Pulls the params back to their initial values.

  Use it against loss of plasticity in long training on changing data: weights
  that the loss does not hold go back to where learning was easy. It is weight
  decay towards w₀, the params at `init`, instead of towards 0. With w the
  params and g the raw gradient,

      u = g + λ·(w - w₀)         norm="l2": the gradient of λ/2·‖w - w₀‖²
      u = g + λ·sign(w - w₀)     norm="l1": that of λ·‖w - w₀‖₁
      u = g + (2λ/n)·(w - sort(w₀)[rank w])               norm="wasserstein"

  where for "wasserstein" the k-th largest weight of a leaf of n elements is
  pulled to the k-th largest initial one: weights may change their roles, if
  their distribution stays. Of equal weights the first in order ranks lower. It
  takes two sorts of each leaf an update.

  It belongs on the raw gradient, first in a chain. Behind Adam's normalisation
  it means something else: a decoupled pull, as AdamW's decay is. Params that
  are initialised with zeros, such as biases, are pulled to 0. The authors leave
  out the params of normalisation: do so with `mask`.

  The default is the authors' coefficient of ‖w - w₀‖² for Adam at 1e-3 on
  permuted MNIST, so that ours pulls half as hard. The strength has to be seen
  beside the gradient. Adam divides by the size of the sum, so that where
  gradients are small (a small loss, gradients that are clipped, reinforcement
  learning) the pull takes over the direction and moves weights at the full
  learning rate. Begin there with 1e-5: for PPO on CartPole with Adam at 2.5e-4,
  1e-5 did no harm, and the default halved the return.

  Args:
    strength: λ ≥ 0, a number or a schedule of the update count. For "l2" it is
      twice the coefficient of ‖w - w₀‖² in a loss.
    norm: "l2", "l1" or "wasserstein".
    mask: the leaves to pull, as in `optax.masked`. None for all.

  Returns:
    A gradient transformation, whose state is a `RegenerateState`. Its `update`
    needs the params.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a Python or NumPy number is out of range, `norm` is unknown, or
      `update` is called without params.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import mechanisms
    >>> tx = mechanisms.regenerate(strength=0.1)
    >>> state = tx.init(jnp.array([1.0]))
    >>> updates, _ = tx.update(jnp.array([0.0]), state, jnp.array([3.0]))
    >>> print(updates)
    [0.2]

  References:
    Kumar et al., `Maintaining Plasticity in Continual Learning via Regenerative
    Regularization <https://arxiv.org/abs/2308.11958>`_, 2023
  """
  numbers = _numbers.Numbers(
    strength=(strength, _numbers.NON_NEGATIVE.scheduled)
  )
  _numbers.check_choice('norm', norm, ('l2', 'l1', 'wasserstein'))
  _trees.check_mask('mask', mask)

  def init_fn(params):
    leaves = _leaves.flatten('regenerate', 'params', params)
    one = lambda x, taken: _leaves.copied(x) if taken else optax.MaskedNode()
    anchor = leaves.tree(leaves.each(one, leaves.mask(mask)))
    return RegenerateState(jnp.zeros([], jnp.int32), anchor)

  def update_fn(updates, state, params=None, **extra_args):
    del extra_args
    leaves = _leaves.with_params('regenerate', updates, params)

    def step(now, g, w, anchor):
      if norm == 'wasserstein':
        anchor = _ranked(w, anchor)
      # Subtracted as it is, then held: a difference may overflow.
      moved = w - anchor
      pull = jnp.sign(moved) if norm == 'l1' else _leaves.finite(moved)
      if norm == 'wasserstein':
        pull = pull * (2 / w.size)
      return _leaves.added(g, now.strength, pull)

    updates, _ = leaves.map(
      step,
      numbers.at(state.count),
      reads=[state.anchor],
      inside=leaves.mask(mask),
    )
    return updates, RegenerateState(
      optax.safe_increment(state.count), state.anchor
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _ranked(w: jax.Array, anchor: jax.Array) -> jax.Array:
  """For each weight, the initial one of its rank in the leaf."""
  # What is sorted must not be split, where shardings are in the types.
  now, first = (_arrays.replicated(x).ravel() for x in (w, anchor))
  order = jnp.argsort(now)
  target = jnp.zeros_like(now).at[order].set(jnp.sort(first))
  return _arrays.placed_like(target.reshape(w.shape), w)
