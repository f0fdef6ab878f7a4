"""SPSA: a gradient estimate from values of the loss alone."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.mechanisms import _noise


class SimultaneousPerturbationState(NamedTuple):
  """The state of `simultaneous_perturbation`.

  Attributes:
    count: the number of updates so far, shape (), dtype int32.
    key: the words of the key, uint32 [2] for the usual kind of key.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  key: jax.Array


def simultaneous_perturbation(
  epsilon: _types.ScalarOrSchedule = 1e-3,
  distribution: Literal['rademacher', 'normal'] = 'rademacher',
  samples: int = 1,
  *,
  key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
  """Estimates the gradient from values of the loss, without backpropagation.

  Use it where the loss has no derivative, or where there is no memory for
  backpropagation, as in fine-tuning large models (MeZO). With w the params, L
  the loss and z noise of independent elements, drawn anew for each sample,

      u = mean over samples of (L(w + ε·z) - L(w - ε·z)) / (2ε) · z

  All params are perturbed at once, so that a sample costs two values of the
  loss, however many params there are; the variance of the estimate grows with
  their number. The loss is the extra argument `value_fn` of `update`, a
  callable of the params that returns a scalar, such as that of Optax's line
  searches; it gets the params that the transformation sees. The incoming
  updates are ignored: only their structure and dtypes are used, so that zeros,
  the params, or None will do.

  Params narrower than float32 are perturbed, and passed to `value_fn`, in
  float32: in bfloat16 a perturbation of 1e-3 would vanish. Unlike MeZO's
  program, which perturbs in place and draws the noise again, this one holds
  perturbed copies of the params.

  Args:
    epsilon: ε > 0, a number or a schedule of the update count.
    distribution: of the elements of z, "rademacher" for fair coins ±1, as in
      SPSA, or "normal" for standard normal, as in MeZO.
    samples: how many estimates are averaged, an integer ≥ 1.
    key: an int seed or a JAX key.

  Returns:
    A gradient transformation, whose state is a `SimultaneousPerturbationState`.
    Its `update` needs the params, and `value_fn`.

  Raises:
    TypeError: an argument has the wrong type, or a leaf is not floating.
    ValueError: a number is out of range, `distribution` is unknown, or `update`
      is called without params or `value_fn`.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import mechanisms
    >>> tx = optax.chain(
    ...   mechanisms.simultaneous_perturbation(),
    ...   optax.scale_by_learning_rate(0.1),
    ... )
    >>> f = lambda x: jnp.sum(x**2)
    >>> params = jnp.array([1.0, 2.0])
    >>> state = tx.init(params)
    >>> for _ in range(50):
    ...   updates, state = tx.update(params, state, params, value_fn=f)
    ...   params = optax.apply_updates(params, updates)
    >>> print(f(params) < 0.1)
    True

  References:
    Spall, `Multivariate Stochastic Approximation Using a Simultaneous
    Perturbation Gradient Approximation
    <https://doi.org/10.1109/9.119632>`_, 1992

    Malladi et al., `Fine-Tuning Language Models with Just Forward Passes
    <https://arxiv.org/abs/2305.17333>`_, 2023
  """
  numbers = _numbers.Numbers(epsilon=(epsilon, _numbers.POSITIVE.scheduled))
  _numbers.check_choice('distribution', distribution, ('rademacher', 'normal'))
  samples = _numbers.check_integer('samples', samples)
  _noise.check_key(key)
  draw = _noise.DISTRIBUTIONS[distribution]
  owner = 'simultaneous_perturbation'

  def init_fn(params):
    _leaves.flatten(owner, 'params', params)
    return SimultaneousPerturbationState(
      jnp.zeros([], jnp.int32), _noise.key_data(key)
    )

  def update_fn(updates, state, params=None, *, value_fn=None, **extra_args):
    del extra_args
    # Whatever comes in is ignored, and need not be there.
    updates = params if updates is None else updates
    leaves = _leaves.with_params(owner, updates, params)
    if value_fn is None:
      raise ValueError(
        f'{owner} needs the loss: call update(updates, state, params, '
        'value_fn=...), a callable of the params that returns a scalar.'
      )
    now = numbers.at(state.count)
    wide = leaves.each(lambda w: jnp.asarray(w).astype(_leaves.wide_dtype(w)))

    def estimate(key):
      words = _noise.words(key, state.count, len(leaves))
      noise = [
        None if g is None or w is None else draw(pair, w).astype(w.dtype)
        for g, w, pair in zip(leaves.updates.leaves, wide, words, strict=True)
      ]

      def value(sign):
        moved = [
          w if z is None else w + sign * now.cast(w.dtype).epsilon * z
          for w, z in zip(wide, noise, strict=True)
        ]
        return _scalar(value_fn(leaves.tree(moved)))

      difference = value(1) - value(-1)

      def leaf(_, w, z):
        if z is None:
          return jnp.zeros_like(w)
        slope = difference.astype(w.dtype) / (2 * now.cast(w.dtype).epsilon)
        return _leaves.product(slope, z)

      return leaves.each(leaf, wide, noise)

    if samples == 1:
      mean = estimate(state.key)
    else:

      def add(i, total):
        key = jax.random.fold_in(_noise.threefry(state.key), i)
        each = estimate(jax.random.key_data(key))
        return jax.tree.map(lambda x, y: x + y / samples, total, each)

      zeros = jax.tree.map(jnp.zeros_like, wide)
      mean = jax.lax.fori_loop(0, samples, add, zeros)
    updates = [
      g if _leaves.is_absent(g) else _arrays.downcast(u, jnp.asarray(g))
      for g, u in zip(leaves.updates.leaves, mean, strict=True)
    ]
    return leaves.tree(updates), SimultaneousPerturbationState(
      optax.safe_increment(state.count), state.key
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _scalar(value: Any) -> jax.Array:
  """The value that the loss returned, in at least float32."""
  array = jnp.asarray(value)
  if array.ndim or not jnp.issubdtype(array.dtype, jnp.floating):
    raise TypeError(
      'value_fn must return a floating scalar, got an array of shape '
      f'{array.shape} and dtype {array.dtype}.'
    )
  return array.astype(_leaves.wide_dtype(array))
