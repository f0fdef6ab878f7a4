"""Whether layers are what they claim, by experiment."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _layers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax.mechanisms import _noise

_OWNER = 'units.check'

# A unit may be silent before and after one change of it.
_TRIES = 4

_TOLERANCE = 1e-5


def check(
  apply: Callable[[_types.Params, Any], Any],
  params: _types.Params,
  layers: Sequence[_layers.Layer],
  x: Any,
  *,
  key: Any = 0,
) -> None:
  """Finds out by experiment whether layers are what they claim.

  Use it once for a network, in a test. For one layer after the other, a random
  half of the units is cut off by outgoing weights of 0. The output must then
  not change where the incoming weights and vectors of this half do, and must
  change where those of the other half do. A wrong order of flattened units,
  layers that are swapped, and incoming kernels that are missing show so. A leaf
  of H elements along its last axis that no layer names, and that acts on these
  units alone, is a vector that was forgotten.

  Normalisation across units, as layer norm, couples them: its units are not
  independent, and the check fails. An output layer of zeros shows nothing: use
  params that are not. Batch norm must be given its statistics, or take those of
  the batch.

  Args:
    apply: `apply(params, x)`, an array or a tree of arrays, without noise.
    params: the params.
    layers: the layers of units.
    x: a batch of inputs.
    key: an int seed or a JAX key, for the halves and the changes.

  Raises:
    ValueError: a layer does not fit the params, or is not what it claims.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import units
    >>> def apply(params, x):
    ...   return jax.nn.relu(x @ params['a'] + params['bias']) @ params['b']
    >>> params = {
    ...   'a': jnp.ones((2, 4)),
    ...   'b': jnp.ones((4, 1)),
    ...   'bias': jnp.zeros(4),
    ... }
    >>> x = jnp.array([[1.0, 2.0], [-1.0, 1.0]])
    >>> layer = units.Layer('a', 'a', 'b', {'bias': 0.0})
    >>> units.check(apply, params, [layer], x)
    >>> units.check(apply, params, [units.Layer('a', 'a', 'b')], x)
    Traceback (most recent call last):
      ...
    ValueError: units.check: layer 'a' forgets 'bias', which acts on its units alone: name it in its vectors, or in incoming.
  """  # noqa: E501  A doctest compares the message as it is.
  layers = _layers.check_layers(_OWNER, layers)
  _noise.check_key(key)
  flat = _trees.flatten(params)
  placed = _layers.resolve(_OWNER, layers, flat)
  net = _Experiment(apply, flat, x, _noise.threefry(_noise.key_data(key)))
  named = {i for at in placed for i in at.leaves}
  for at in placed:
    net.check(at, named)


class _Experiment:
  def __init__(
    self, apply: Any, flat: _trees.Flat, x: Any, key: jax.Array
  ) -> None:
    self.apply, self.flat, self.x, self.key = apply, flat, x, key

  def check(self, at: _layers.Placed, named: set[int]) -> None:
    """Raises ValueError if the layer is not what it claims."""
    others = [
      i
      for i, leaf in enumerate(self.flat.leaves)
      if leaf is not None
      and jnp.ndim(leaf)
      and jnp.shape(leaf)[-1] == at.size
      and i not in named
    ]
    who = f'{_OWNER}: layer {at.name!r}'
    # By the leaves that change: whether the half that is cut off has shown, and
    # whether the other has, in any of the tries.
    shown = {at.fed: [False, False]} | {(i,): [False, False] for i in others}
    for _ in range(_TRIES):
      order = np.asarray(jax.random.permutation(self._new_key(), at.size))
      cut = jnp.asarray(order < at.size // 2)
      leaves = list(self.flat.leaves)
      for i in at.outgoing:
        leaves[i] = jnp.where(at.along_inputs(cut), 0, leaves[i])
      base = self._output(leaves)
      limit = _TOLERANCE * max(np.abs(base).max(initial=0.0), 1e-30)
      for changed, seen in shown.items():
        for side, units in enumerate((cut, ~cut)):
          moved = list(leaves)
          for i in changed:
            moved[i] = _moved(self._new_key(), leaves[i], units)
          difference = np.abs(self._output(moved) - base).max(initial=0.0)
          seen[side] |= bool(difference > limit)
    cut_shows, others_show = shown.pop(at.fed)
    if cut_shows:
      raise ValueError(
        f'{who}: the output changes with incoming weights or vectors of units '
        'whose outgoing weights are 0. Are layers swapped, are outgoing '
        'kernels missing, are units flattened in another order, or coupled by '
        'normalisation?'
      )
    if not others_show:
      raise ValueError(
        f'{who}: the output does not change with its incoming weights and '
        'vectors. Are they used, and is the output layer not all 0?'
      )
    for (i,), (cut_shows, others_show) in shown.items():
      if others_show and not cut_shows:
        path = self.flat.map_with_path(lambda path, _: _trees.path_name(path))
        raise ValueError(
          f'{who} forgets {path[i]!r}, which acts on its units alone: name it '
          'in its vectors, or in incoming.'
        )

  def _new_key(self) -> jax.Array:
    self.key, new = jax.random.split(self.key)
    return new

  def _output(self, leaves: list[Any]) -> np.ndarray:
    output = self.apply(self.flat.unflatten(leaves), self.x)
    parts = [np.asarray(y, 'float64').ravel() for y in jax.tree.leaves(output)]
    return np.concatenate([*parts, np.zeros(0)])


def _moved(key: jax.Array, leaf: Any, units: jax.Array) -> jax.Array:
  """A leaf with other numbers for some units, which are on its last axis."""
  leaf = jnp.asarray(leaf)
  noise = jax.random.normal(key, leaf.shape, jnp.float32)
  size = jnp.maximum(jnp.std(leaf.astype(jnp.float32)), 0.1)
  moved = leaf + (3 * size * noise).astype(leaf.dtype)
  return jnp.where(units, moved, leaf)
