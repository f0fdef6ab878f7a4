"""Control arms: what is left of an effect of α once something is taken away.

Published, the full arm and its ablation differ in more than their signals: in
the clip range of α, and so in the mean length of a step. Each control removes
one such difference, or all that α knows:

    gradient_only_same_range   the ablation, clipped as the full arm is
    unit_mean                  α has mean 1: the step has the base's mean length
    mean_of_gradient_only      α has the mean of the published ablation's
    unit_rms                   the step has the norm of the base's
    shuffled                   α is there, but on the wrong elements

Each is the full arm in all else, the warm-up of κ included. unit_mean and the
last two come without the norm clip of homeostasis, too (…_no_clip): the clip
bounds most steps at the published rate, and then hides what a control changes.
So does unit_rms_shuffled_no_clip, the last two at once. Diagnostics show α
before a rule changes it.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from experiments.optimizers import arm
from experiments.optimizers import plastic
from neuroplastic_optax import modulations

AT_THE_NORM_OF_THE_BASE = modulations.Direct(normalize='norm')

_ROUNDS = 2
# A sort takes longer than all else in an update of more elements than this.
_SORTED = 4096
_FEWEST_ROWS = 64


@dataclasses.dataclass(frozen=True)
class MeanOfGradientOnly(modulations.Modulation):
  """α, rescaled to the mean that it would have without activity and memory.

      u = α·mean(clip(ν(|g|), low, high)) / mean(α) ⊙ b

  Where the mean of α is at most ε, α is left as it is.

  Attributes:
    low: α_min of the ablation, at least that of the optimizer.
    high: α_max of the ablation, at most that of the optimizer: α_grad, which is
      clipped to the optimizer's bounds, is clipped again to these.
  """

  low: Any = modulations.number(default=0.5, low=0.0)
  high: Any = modulations.number(default=1.5, low=0.0)

  def modulate(self, tensor: modulations.Tensor) -> jax.Array:
    """Returns u."""
    wanted = jnp.clip(tensor.alpha_gradient, self.low, self.high)
    mean = tensor.mean(tensor.alpha)
    factor = tensor.mean(wanted) / jnp.where(mean > tensor.eps, mean, 1.0)
    factor = jnp.where(mean > tensor.eps, factor, 1.0)
    return factor * tensor.alpha * tensor.base_update


def _count(count: jax.Array) -> jax.Array:
  """The schedule whose value is the update count itself."""
  return count


@dataclasses.dataclass(frozen=True)
class Shuffled(modulations.Modulation):
  """α, permuted at random within the tensor, anew at every update.

      u = α[π] ⊙ b

  π is a function of `seed`, of the update count and of the gradient's bits, and
  of nothing else: the same run draws the same again, with no state and no host,
  and tensors and trials with gradients of their own have permutations of their
  own. The bits are hashed and summed as integers, which no order of summation
  changes.
  With stacked axes every slice is permuted in itself, and so is the part of a
  device inside `shard_map`.

  Attributes:
    seed: a Python integer.
    count: the update count. A rule does not see it, but its schedules do, and
      the default is the schedule that returns it. A schedule's value is a
      float32, so that counts beyond 2²⁴ repeat.
  """

  seed: int = 0
  count: Any = modulations.number(default=_count, low=0.0)

  def modulate(self, tensor: modulations.Tensor) -> jax.Array:
    """Returns u."""
    content = tensor.sum(_hashed(jnp.real(tensor.gradient)))
    key = jax.random.key(self.seed)
    for number in (jnp.asarray(self.count), content):
      key = jax.random.fold_in(key, number.astype(jnp.uint32))
    return permuted(key, tensor.filled(tensor.alpha)) * tensor.base_update


@dataclasses.dataclass(frozen=True)
class ShuffledUnitRms(Shuffled):
  """α[π] ⊙ b, scaled to the norm of b; see `Shuffled`."""

  def modulate(self, tensor: modulations.Tensor) -> jax.Array:
    """Returns u."""
    u = super().modulate(tensor)
    norm = tensor.norm(u)
    ratio = tensor.norm(tensor.base_update) / jnp.where(norm > 0, norm, 1.0)
    return u * ratio


def _hashed(x: jax.Array) -> jax.Array:
  """Each element's bits, mixed: uint32 of the shape of x.

  A sum of the bits as they are would hardly see signs and exponents.
  """
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
  for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
    bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
  return bits ^ (bits >> 15)


def permuted(key: jax.Array, x: jax.Array) -> jax.Array:
  """The elements of an array in a random order.

  Small arrays are sorted by random values. That would take longer than the
  training step for large ones, of which n = rows × columns elements are
  permuted by a Feistel network instead: every row is rotated by a random number
  of places, then every column, twice. Each rotation is a permutation. Not all
  n! permutations can come out, but where an element goes, and where two of them
  go, is as good as uniform.
  """
  rows = next(r for r in range(math.isqrt(x.size), 0, -1) if x.size % r == 0)
  if x.size <= _SORTED or rows < _FEWEST_ROWS:
    return jax.random.permutation(key, x.ravel()).reshape(x.shape)
  columns = x.size // rows
  grid = rows, columns
  row = jax.lax.broadcasted_iota(jnp.int32, grid, 0)
  column = jax.lax.broadcasted_iota(jnp.int32, grid, 1)
  for one, other in jax.random.split(key, (_ROUNDS, 2)):
    column += jax.random.randint(one, (rows,), 0, columns)[row]
    column = jnp.where(column < columns, column, column - columns)
    row += jax.random.randint(other, (columns,), 0, rows)[column]
    row = jnp.where(row < rows, row, row - rows)
  return x.ravel()[row * columns + column].reshape(x.shape)


_UNIT_MEAN = modulations.Direct(normalize='mean')
_add = functools.partial(plastic.add, family=arm.CONTROLS)

_add(
  'gradient_only_same_range',
  "The ablation with the full arm's clip range, [0.2, 2].",
  hyperparameters=plastic.CLASSIC,
  gradient_only=True,
)
_add(
  'unit_mean',
  'The full arm with α divided by its mean over the tensor.',
  modulation=_UNIT_MEAN,
)
_add(
  'mean_of_gradient_only',
  "The full arm with α rescaled to the mean of the published ablation's.",
  modulation=MeanOfGradientOnly(),
)
_add(
  'unit_rms',
  'The full arm with its step scaled to the norm of the gradient.',
  modulation=AT_THE_NORM_OF_THE_BASE,
)
_add(
  'shuffled',
  'The full arm with α permuted at random within each tensor.',
  modulation=Shuffled(),
)
for _name, _rule in (
  ('unit_mean', _UNIT_MEAN),
  ('unit_rms', AT_THE_NORM_OF_THE_BASE),
  ('shuffled', Shuffled()),
):
  _add(
    f'{_name}_no_clip',
    f'The arm {_name} without the norm clip of homeostasis.',
    modulation=_rule,
    **plastic.NO_CLIP,
  )
_add(
  'unit_rms_shuffled_no_clip',
  'The arm unit_rms_no_clip with α permuted at random within each tensor.',
  modulation=ShuffledUnitRms(),
  **plastic.NO_CLIP,
)
