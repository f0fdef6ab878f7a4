"""Diagnostics: statistics of the last update, into the state and out of it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _state
from neuroplastic_optax import _statistics
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax._statistics import NAMES
from neuroplastic_optax._statistics import Statistics

MODES = ('global', 'per_leaf')
Mode = Literal['global', 'per_leaf']


class PerLeaf(NamedTuple):
  """In a state, statistics of every leaf, and the structure of the params.

  There a tree like the params would pass for one of their copies, to be sharded
  or masked as they are. A named tuple is what serializers know; Flax has no way
  to serialize a static tree definition.

  Attributes:
    statistics: a tuple with a `Statistics`, or an array, for each leaf; None
      for None.
    structure: the params with None for every leaf, without arrays.
  """

  statistics: tuple[Any, ...]
  structure: Any


def per_leaf(flat: _trees.Flat, statistics: Sequence[Any]) -> Any:
  """A `PerLeaf` of these leaves."""
  if not flat.leaves:
    # One leaf: so `optax.tree.map_params`, which has a placeholder for the
    # params, finds no structure that it could miss in the true state.
    return jnp.zeros([], jnp.float32)
  structure = _like(flat.tree, [None] * len(flat.leaves))
  return PerLeaf(tuple(statistics), structure)


def leaves_of(kept: Any) -> list[Any]:
  """What `per_leaf` was given."""
  return list(kept.statistics) if isinstance(kept, PerLeaf) else []


def tree_of(kept: Any) -> Any:
  """The same, each one array or None, as a tree like the params."""
  if not isinstance(kept, PerLeaf):
    return {}  # No leaves.
  # The arrays themselves, which `nnx.Optimizer` wraps in variables.
  return _like(
    kept.structure,
    [None if x is None else jax.tree.leaves(x)[0] for x in kept.statistics],
  )


def _by_name(kept: PerLeaf) -> dict[str, Any]:
  """By name of a statistic, a tree like the params."""
  named = [
    None if x is None else _arrays_of(x).named() for x in kept.statistics
  ]
  return {
    name: _like(kept.structure, [None if x is None else x[name] for x in named])
    for name in NAMES
  }


def _like(tree: Any, leaves: Sequence[Any]) -> Any:
  """A tree of the structure of `tree`, in which None counts as a leaf.

  A node of a user's may check the shapes of its leaves, and refuse others. A
  dictionary by path then stands for the tree.
  """
  paths, treedef = jax.tree.flatten_with_path(tree, is_leaf=lambda x: x is None)
  try:
    return jax.tree.unflatten(treedef, leaves)
  except Exception:
    names = [_trees.path_name(path) for path, _ in paths]
    return dict(zip(names, leaves, strict=True))


def collect(
  mode: Mode,
  flat: _trees.Flat,
  stacked_axes: Sequence[int],
  measured: Sequence[Statistics | None],
  multipliers: Sequence[jax.Array | None],
) -> Any:
  """What the state holds after an update, by the mode.

  `measured` has what `measure` returned for each leaf: None for None and for
  empty leaves, and for all before the first update.
  """
  statistics = list(map(_statistics.complete, measured, multipliers))
  if mode == 'global':
    return _statistics.pool([leaf for leaf in statistics if leaf is not None])
  filled = [
    _statistics.zeros(leaf, axes)
    if found is None and leaf is not None
    else found
    for leaf, axes, found in zip(
      flat.leaves, stacked_axes, statistics, strict=True
    )
  ]
  return per_leaf(flat, filled)


def get_diagnostics(
  opt_state: _types.OptState, *, flat: bool = False
) -> dict[str, Any]:
  """Returns what the last update did.

  It works on any state that holds a `NeuroplasticState`, such as that of
  `chain`, `masked` or `inject_hyperparams`, and on an `nnx.Optimizer`. It can
  be jitted.

  Statistics of some updates only cost less: build the optimizer twice, with
  diagnostics and without, and initialise with the one that has them. Each
  accepts the other's state. Without diagnostics, the old ones are passed on;
  with them, they are made anew. See the second example.

  Args:
    opt_state: the state of an optimizer built with `diagnostics="global"` or
      `"per_leaf"`.
    flat: whether to return one dictionary of scalars, for loggers.

  Returns:
    A dict by name, where `flat` is False. With "global", each value is a
    float32 scalar over all elements of all leaves, except for the histogram.
    With "per_leaf", each value is a tree like the params, or a dictionary by
    path where a node of the params takes no scalars; with stacked axes, its
    arrays have the sizes of those axes as leading shape. All values are zero
    before the first update. The names are

    - `alpha_mean`, `alpha_std`, `alpha_min`, `alpha_max`: statistics of α.
    - `alpha_median`: the median of α, computed from the histogram.
    - `alpha_fraction_near_min`, `alpha_fraction_near_max`: the fraction of
      elements whose α is beyond the bound, or within 5 % of the range of it.
    - `alpha_histogram`: int32 [64], counts of α in equal bins over
      [min_alpha, max_alpha]. Values outside are counted in the end bins.
    - `gradient_norm`, `parameter_norm`: ‖g‖ and ‖θ‖. The latter is NaN if the
      params were not passed.
    - `modulation_norm`: ‖u - b‖ before decay.
    - `raw_update_norm`: ‖u‖ before homeostasis.
    - `update_norm`: ‖u‖ as `neuroplastic` returns it, after homeostasis and the
      controller. It leaves out what comes after: the learning rate, its sign,
      and a decoupled weight decay, also those of `neuroplastic_optimizer`.
    - `controller_multiplier`: what the controller multiplied the update by;
      with "global", its mean over leaves.

    With `flat`, the names are `alpha_mean` and so on with "global", and
    `layer/kernel/alpha_mean` with "per_leaf". A leaf with stacked axes has a
    name for each slice, such as `blocks/kernel/3/alpha_mean`. The histogram is
    left out.

  Raises:
    TypeError: `flat` is not a bool.
    ValueError: the state holds no `NeuroplasticState`, or more than one, of
      which the message says how to reach each, or the diagnostics are off.

  Examples:
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import get_diagnostics, neuroplastic_optimizer
    >>> tx = neuroplastic_optimizer(0.1, diagnostics='global')
    >>> params = jnp.array([1.0, 2.0, 3.0])
    >>> _, state = tx.update(2 * params, tx.init(params), params)
    >>> f'{get_diagnostics(state)["alpha_max"]:.2f}'
    '1.40'

    Statistics of every tenth update:

    >>> plain = neuroplastic_optimizer(0.1)
    >>> state = tx.init(params)
    >>> for step in range(20):
    ...   update = tx.update if step % 10 == 0 else plain.update
    ...   updates, state = update(2 * params, state, params)
    >>> scalars = get_diagnostics(state, flat=True)

    Where an optimizer holds several, pass the part of its state with the one
    that you want:

    >>> parts = {'body': tx, 'head': tx}
    >>> tx = optax.partition(parts, {'dense': 'body', 'out': 'head'})
    >>> state = tx.init({'dense': params, 'out': params})
    >>> head = get_diagnostics(state.inner_states['head'])
  """
  _numbers.check_switch('flat', flat)
  state = _state.only_state(
    opt_state, _state.NeuroplasticState, 'get_diagnostics', 'neuroplastic'
  )
  kept = state.diagnostics
  if kept is None:
    raise ValueError(
      'the diagnostics of this optimizer are off: build it with '
      'diagnostics="global" or diagnostics="per_leaf".'
    )
  found: dict[str, Any] = {name: {} for name in NAMES}  # No leaves.
  if isinstance(kept, PerLeaf):
    found = _by_name(kept)
  elif isinstance(kept, Statistics):
    found = _arrays_of(kept).named()
  return _scalars(found) if flat else found


def _scalars(found: dict[str, Any]) -> dict[str, jax.Array]:
  """The statistics in one dictionary of scalars."""
  scalars = {}
  for name in NAMES:
    if name == 'alpha_histogram':
      continue
    for path, x in jax.tree.leaves_with_path(found[name]):
      whole = _arrays.replicated(x) if jnp.ndim(x) else x
      for index in np.ndindex(jnp.shape(x)):
        parts = [_trees.path_name(path), *map(str, index), name]
        scalars['/'.join(filter(None, parts))] = whole[index] if index else x
  return scalars


def _arrays_of(kept: Statistics) -> Statistics:
  """The arrays themselves, which `nnx.Optimizer` wraps in variables."""
  return Statistics(*jax.tree.leaves(kept))
