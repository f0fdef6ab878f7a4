"""Muon's direction, without a learning rate, and which leaves it treats.

Muon orthogonalises the momentum of matrices; Adam takes the other leaves. Its
authors give the two learning rates of their own, 0.02 and 3e-4
(https://github.com/KellerJordan/Muon). Here one number scales both, in that
proportion: with a learning rate η, Adam's is `ADAM_RATIO`·η.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from experiments.optimizers.arm import Range

LEARNING_RATE = Range(0.02, 2e-3, 0.2)
ADAM_RATIO = 3e-4 / 0.02
_DECAYS = {'muon': 0.95, 'adam': 0.9}


def dimensions(params: optax.Params, stacked_axes: Any = None) -> optax.Params:
  """Which leaves Muon orthogonalises, and along which of their axes.

  By itself `optax.contrib.muon` takes only leaves of rank 2, and so neither
  convolutions nor stacked layers. Embeddings, heads, stems and all that is no
  matrix go to its Adam.

  Args:
    params: the parameters, or their shapes.
    stacked_axes: how many leading axes of a leaf index tensors, a callable of
      its path and the leaf; None for none.

  Returns:
    A tree for `muon_weight_dimension_numbers`, with None for Adam's leaves.
  """

  def of_leaf(path: Any, leaf: Any) -> contrib.MuonDimensionNumbers | None:
    first = stacked_axes(path, leaf) if stacked_axes else 0
    name = jax.tree_util.keystr(path).lower()
    if any(part in name for part in ('embedding', 'head', 'stem')):
      return None
    if leaf.ndim - first < 2:
      return None
    axes = tuple(range(first, leaf.ndim))
    return contrib.MuonDimensionNumbers(axes[:-1], axes[-1:])

  return jax.tree.map_with_path(of_leaf, params)


def scale_by_muon_and_adam(
  stacked_axes: Any = None,
) -> optax.GradientTransformation:
  """The direction of `optax.contrib.muon`, with `ADAM_RATIO` of Adam's.

  `contrib.muon` with a learning rate of 1, with the other sign: it has no
  direction of its own to offer. Times -η, updates are Muon's.
  """
  return optax.chain(
    contrib.muon(
      1.0,
      adam_learning_rate=ADAM_RATIO,
      muon_weight_dimension_numbers=functools.partial(
        dimensions, stacked_axes=stacked_axes
      ),
    ),
    optax.scale(-1.0),
  )


def momentum(state: Any) -> Any:
  """m̂ of every leaf: Muon and its Adam have decays of their own."""
  is_masked = lambda x: isinstance(x, optax.MaskedNode)
  parts = []
  for name, decay in _DECAYS.items():
    inner = state[0].inner_states[name].inner_state[0]
    correction = 1 - jnp.float32(decay) ** inner.count.astype(jnp.float32)
    parts.append(
      jax.tree.map(
        lambda mu, c=correction: mu if is_masked(mu) else mu / c,
        inner.mu,
        is_leaf=is_masked,
      )
    )
  return jax.tree.map(
    lambda x, y: y if is_masked(x) else x, *parts, is_leaf=is_masked
  )
