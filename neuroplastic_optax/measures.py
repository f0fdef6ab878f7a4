"""Measures of plasticity: of activations, weights, gradients and outputs.

Pure functions of arrays, which can be jitted. Activations h are [n, H], a row
for each example and a column for each unit; leading axes are flattened into n.
Each returns a scalar of at least float32, unless it says otherwise; it is
finite where all is 0, and ranks are 0 there.

Papers use one name for several measures; each docstring says which it is.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
from neuroplastic_optax import _layers
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _leaves
from neuroplastic_optax.units import _rules

# In the order of the API reference.
__all__ = (  # noqa: RUF022
  'dormant_fraction',
  'dead_fraction',
  'zero_fraction',
  'effective_rank',
  'spectral_rank',
  'approximate_rank',
  'stable_rank',
  'sign_entropy',
  'weight_norm',
  'weight_rms',
  'distance',
  'gradient_fraction',
  'churn',
  'plasticity',
)
__docformat__ = 'google'


def dormant_fraction(
  h: jax.Array, threshold: _types.ArrayLike = 0.0
) -> jax.Array:
  """The share of units with E|h_j| / (mean_k E|h_k| + 1e-9) ≤ threshold.

  These are what `units.Redo` recycles. The threshold is that of Sokar et al.,
  [2302.12902](https://arxiv.org/abs/2302.12902): .025 or .1 in the paper.

  Args:
    h: activations, [..., H].
    threshold: ≥ 0.

  Examples:
    >>> from neuroplastic_optax import measures
    >>> h = [[0.0, 1.0, 3.0], [0.0, -1.0, 3.0]]  # Scores 0, .75, 2.25.
    >>> print(f'{measures.dormant_fraction(h, 0.8):.3f}')
    0.667
  """
  _numbers.NON_NEGATIVE.check('threshold', threshold)
  score = _rules.relative(_leaves.mean(jnp.abs(_rows(h)), (0,)), 1e-9)
  return jnp.mean((score <= threshold).astype(score.dtype))


def dead_fraction(h: jax.Array) -> jax.Array:
  """The share of units that are 0 for all examples.

  For ReLU: units that no example makes fire. It is `dormant_fraction` at a
  threshold of 0.

  Args:
    h: activations, [..., H].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.dead_fraction([[0.0, 1.0], [0.0, 0.0]]))
    0.5
  """
  h = _rows(h)
  return jnp.mean(jnp.all(h == 0, axis=0).astype(h.dtype))


def zero_fraction(h: jax.Array) -> jax.Array:
  """The share of activations that are 0, over examples and units.

  Args:
    h: activations, [..., H].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.zero_fraction([[0.0, 1.0], [0.0, 0.0]]))
    0.75
  """
  h = _rows(h)
  return jnp.mean((h == 0).astype(h.dtype))


def effective_rank(h: jax.Array) -> jax.Array:
  """exp(-Σ p log p) of p = σ / Σσ, the entropy of the singular values.

  Source: Roy and Vetterli, *The effective rank*, 2007. σ are those of h itself,
  which is not centred: of a Gram matrix, small ones would be lost.

  Args:
    h: activations, [..., H].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> h = [[1.0, 0.0], [0.0, 1.0]]  # p = ½, ½.
    >>> print(f'{measures.effective_rank(h):.3f}')
    2.000
  """
  p = _singular_values(h)
  p = p / jnp.maximum(jnp.sum(p), _tiny(p))
  entropy = -jnp.sum(p * jnp.log(jnp.maximum(p, _tiny(p))))
  return jnp.where(jnp.any(p > 0), jnp.exp(entropy), 0.0)


def spectral_rank(h: jax.Array, delta: _types.ArrayLike = 0.01) -> jax.Array:
  """The least k with σ₁ + … + σₖ ≥ (1 - δ)·Σσ: the "srank".

  Source: Kumar et al., [2010.14498](https://arxiv.org/abs/2010.14498), 2021.
  `approximate_rank` is the same with σ².

  Args:
    h: activations, [..., H].
    delta: δ in [0, 1].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> h = [[3.0, 0.0], [0.0, 1.0]]  # σ₁ is ¾ of the sum.
    >>> print(measures.spectral_rank(h), measures.spectral_rank(h, 0.3))
    2.0 1.0
  """
  return _rank(_singular_values(h), delta)


def approximate_rank(h: jax.Array, delta: _types.ArrayLike = 0.01) -> jax.Array:
  """The least k with σ₁² + … + σₖ² ≥ (1 - δ)·Σσ².

  Source: Yang et al., [1909.12255](https://arxiv.org/abs/1909.12255), 2019; so
  in Dohare et al. It is at most `spectral_rank`.

  Args:
    h: activations, [..., H].
    delta: δ in [0, 1].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> h = [[3.0, 0.0], [0.0, 1.0]]  # σ₁² is .9 of the sum.
    >>> print(measures.approximate_rank(h), measures.approximate_rank(h, 0.2))
    2.0 1.0
  """
  return _rank(jnp.square(_singular_values(h)), delta)


def stable_rank(h: jax.Array) -> jax.Array:
  """Σσ² / σ₁², the squared Frobenius norm by the squared spectral norm.

  Some papers round it, or mean by it the ratio for a weight matrix.

  Args:
    h: activations, [..., H].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> h = [[2.0, 0.0], [0.0, 1.0]]  # (4 + 1) / 4
    >>> print(measures.stable_rank(h))
    1.25
  """
  return jnp.sum(jnp.square(_singular_values(h)))


def sign_entropy(pre: jax.Array) -> jax.Array:
  """The mean over units of the entropy of the sign, in bits.

  With p the share of examples where the preactivation of a unit is positive,
  -p·log₂ p - (1 - p)·log₂(1 - p): 1 for a unit that fires for half of the
  examples, 0 for one that is always linear or always off. So in Lewandowski et
  al., [2312.00246](https://arxiv.org/abs/2312.00246), per unit and averaged.

  Args:
    pre: preactivations, [..., H].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.sign_entropy([[1.0, 1.0], [-1.0, 2.0]]))
    0.5
  """
  pre = _rows(pre)
  p = _leaves.mean((pre > 0).astype(pre.dtype), (0,))
  bits = lambda p: -p * jnp.log2(jnp.maximum(p, _tiny(p)))
  return jnp.mean(bits(p) + bits(1 - p))


def weight_norm(params: _types.Params) -> jax.Array:
  """‖w‖ over all elements of a tree.

  Args:
    params: a tree of arrays; None counts as nothing.

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.weight_norm({'a': 3.0, 'b': -4.0}))
    5.0
  """
  return _norm(params)[0]


def weight_rms(params: _types.Params) -> jax.Array:
  """√(mean w²) over all elements of a tree, 0 for an empty one.

  Some papers report the mean of |w| as weight magnitude, which is less.

  Args:
    params: a tree of arrays; None counts as nothing.

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.weight_rms({'a': 7.0, 'b': 1.0}))
    5.0
  """
  norm, count = _norm(params)
  return norm / max(count, 1) ** 0.5


def distance(params: _types.Params, other: _types.Params) -> jax.Array:
  """‖w - w′‖ over all elements of two trees, such as from the initial params.

  Args:
    params: a tree of arrays.
    other: one of the same structure.

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.distance([1.0, 2.0], [1.0, 4.0]))
    2.0
  """

  def difference(x: Any, y: Any) -> jax.Array:
    dtype = _arrays.compute_dtype((x, y))
    return _leaves.finite(_arrays.upcast(x, dtype) - _arrays.upcast(y, dtype))

  return weight_norm(jax.tree.map(difference, params, other))


def gradient_fraction(
  grads: _types.Updates,
  layers: Sequence[_layers.Layer],
  threshold: _types.ArrayLike = 0.01,
) -> dict[str, jax.Array]:
  """By layer, the share of units that `units.GradientMagnitude` would recycle.

  Source: ReGraMa, [2505.24061](https://arxiv.org/abs/2505.24061).

  Args:
    grads: raw gradients, a tree like the params.
    layers: the layers of units.
    threshold: ≥ 0.

  Returns:
    A scalar in [0, 1] for each layer; 0 where all gradients are 0.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import measures, units
    >>> grads = {'a': jnp.array([[1.0, 0.0]]), 'b': jnp.ones((2, 1))}
    >>> layers = units.chain(grads, ['a', 'b'])
    >>> print(measures.gradient_fraction(grads, layers)['a'])
    0.5
  """
  rule = _rules.GradientMagnitude(threshold)
  flat = _trees.flatten(grads)
  layers = _layers.check_layers('measures.gradient_fraction', layers)
  placed = _layers.resolve('measures.gradient_fraction', layers, flat)
  return {
    at.name: jnp.mean(
      rule.small(
        at.fan_in({i: _wide(flat.leaves[i]) for i in at.incoming})
      ).astype(jnp.float32)
    )
    for at in placed
  }


def churn(logits: jax.Array, other: jax.Array) -> jax.Array:
  """The share of rows whose argmax differs, as before and after training.

  Of equal logits the first counts. Some papers mean by churn how far values
  move instead.

  Args:
    logits: [..., classes].
    other: the same shape.

  Examples:
    >>> from neuroplastic_optax import measures
    >>> before, after = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 2.0], [1.0, 0.0]]
    >>> print(measures.churn(before, after))
    0.5
  """
  differs = _rows(logits).argmax(-1) != _rows(other).argmax(-1)
  return jnp.mean(differs.astype(jnp.float32))


def plasticity(before: jax.Array, after: jax.Array) -> jax.Array:
  """clip(1 - after / max(before, 1e-8), 0, 1): what one update gains.

  Source: Elsayed and Mahmood, [2404.00781](https://arxiv.org/abs/2404.00781):
  the losses of one batch before and after the update on it.

  Args:
    before: losses ≥ 0, of any shape.
    after: losses of the same shape.

  Returns:
    An array of their shape, in [0, 1].

  Examples:
    >>> from neuroplastic_optax import measures
    >>> print(measures.plasticity([2.0, 1.0], [0.5, 3.0]))
    [0.75 0.  ]
  """
  before, after = _wide(before), _wide(after)
  return jnp.clip(1 - after / jnp.maximum(before, 1e-8), 0, 1)


def _wide(x: Any) -> jax.Array:
  """An array of at least float32."""
  x = jnp.asarray(x)
  return x.astype(_leaves.wide_dtype(x))


def _rows(h: Any) -> jax.Array:
  """[n, H], of at least float32."""
  h = _wide(h)
  return h.reshape(-1, h.shape[-1])


def _tiny(x: jax.Array) -> float:
  return float(jnp.finfo(x.dtype).tiny)


def _singular_values(h: Any) -> jax.Array:
  """The singular values by the largest of them, falling; all 0 for zeros."""
  h = _rows(h)
  # No square may overflow or vanish.
  largest = jnp.max(jnp.abs(h))
  h = h / jnp.where(largest >= _tiny(h), largest, 1.0)
  values = jnp.linalg.svd(h, compute_uv=False)
  return values / jnp.where(values[0] > 0, values[0], 1.0)


def _rank(falling: jax.Array, delta: Any) -> jax.Array:
  """The least k whose first k numbers are 1 - δ of the sum."""
  _numbers.FRACTION.check('delta', delta)
  summed = jnp.cumsum(falling)
  share = summed / jnp.maximum(summed[-1], _tiny(summed))
  # Counted with the one that reaches it; the last is exactly 1.
  k = 1 + jnp.sum((share < 1 - delta).astype(falling.dtype))
  return jnp.where(summed[-1] > 0, k, 0.0)


def _norm(tree: Any) -> tuple[jax.Array, int]:
  """‖w‖ and the number of elements."""
  leaves = [_wide(x) for x in jax.tree.leaves(tree)]
  leaves = [x for x in leaves if x.size]
  if not leaves:
    return jnp.zeros([], jnp.float32), 0
  dtype = _arrays.compute_dtype(leaves)
  norms = [
    _leaves.norms(x, tuple(range(x.ndim))).reshape(()).astype(dtype)
    for x in leaves
  ]
  stacked = jnp.stack(norms)
  return _leaves.norms(stacked, (0,))[0], sum(x.size for x in leaves)
