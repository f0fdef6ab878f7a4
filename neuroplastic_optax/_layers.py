"""Layers of units: which leaves belong to which units of a network."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _arrays
from neuroplastic_optax import _numbers
from neuroplastic_optax import _trees
from neuroplastic_optax import _types


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of H units: neurons of a dense layer, or feature maps.

  Paths of leaves are written with slashes, as in `dense1/kernel`; of an NNX
  variable, without its attribute `value`.

  Flax flattens a feature map [height, width, H] with the units as the fastest
  index: element k of what comes out belongs to unit k mod H.

  Attributes:
    name: what the layer is called in states, errors and activations.
    incoming: the path, or a tuple of paths, of the kernels [..., in, H] that
      feed the units, which are on the last axis. A gated MLP has two.
    outgoing: the same of the kernels [..., repeat·H, out] that the units feed,
      often the incoming kernel of another layer.
    vectors: by path, the leaves of shape [H] that belong to the units, and the
      value that each returns to: 0 for a bias, 1 for the scale of batch norm.
      Given as a mapping, kept as a tuple of pairs.
    repeat: how often the units come round along the input axis of the outgoing
      kernels: height·width where a feature map is flattened, else 1.

  Examples:
    >>> from neuroplastic_optax import units
    >>> layer = units.Layer(
    ...   'hidden',
    ...   incoming='dense1/kernel',
    ...   outgoing='head/kernel',
    ...   vectors={'dense1/bias': 0.0, 'norm/scale': 1.0, 'norm/bias': 0.0},
    ... )
  """

  name: str
  incoming: str | Sequence[str]
  outgoing: str | Sequence[str]
  vectors: Any = ()
  repeat: int = 1

  def __post_init__(self) -> None:
    if not isinstance(self.name, str):
      raise TypeError(f'Layer.name must be a string, got {self.name!r}.')
    for field in ('incoming', 'outgoing'):
      value = getattr(self, field)
      paths = [value] if isinstance(value, str) else value
      if not paths or not _are_paths(paths):
        raise TypeError(
          f'Layer.{field} must be a path or a tuple of paths, got {value!r}.'
        )
      # A frozen dataclass has no other way to keep what it makes of a value.
      object.__setattr__(self, field, tuple(paths))
    pairs = dict(self.vectors)
    if not all(map(_numbers.is_known, pairs.values())) or (
      not _are_paths(list(pairs))
    ):
      raise TypeError(f'Layer.vectors must be numbers by path, got {pairs!r}.')
    kept = tuple((path, float(value)) for path, value in pairs.items())
    object.__setattr__(self, 'vectors', kept)
    repeat = _numbers.check_integer('Layer.repeat', self.repeat)
    object.__setattr__(self, 'repeat', repeat)


def chain(params: _types.Params, paths: Sequence[str]) -> tuple[Layer, ...]:
  """The layers of kernels that feed one another.

  Use it for a multilayer perceptron or a convolutional network without
  normalisation; where there is normalisation, a gate or a branch, write each
  `Layer` by hand. Each layer is called as its incoming kernel, without
  `/kernel`. The leaf `bias` beside that kernel, if there is one, returns to 0.

  Args:
    params: the params.
    paths: of the kernels, in their order. The last is the output layer, which
      has no units.

  Returns:
    A layer for each kernel but the last. Errors name paths that are not there,
    leaves that are no kernels, and shapes that do not fit.

  Examples:
    >>> import jax.numpy as jnp
    >>> from neuroplastic_optax import units
    >>> params = {
    ...   'conv': {'kernel': jnp.ones((3, 3, 1, 8)), 'bias': jnp.zeros(8)},
    ...   'head': {'kernel': jnp.ones((32, 2)), 'bias': jnp.zeros(2)},
    ... }
    >>> (layer,) = units.chain(params, ['conv/kernel', 'head/kernel'])
    >>> print(layer.name, layer.repeat, layer.vectors)
    conv 4 (('conv/bias', 0.0),)
  """
  if not _are_paths(paths):
    raise TypeError(f'paths must be a list of paths, got {paths!r}.')
  if len(paths) < 2:
    raise ValueError(
      f'paths must have at least two kernels, got {list(paths)!r}.'
    )
  names = _names(_trees.flatten(params))
  layers = []
  for path, following in itertools.pairwise(paths):
    kernel = _kernel('units.chain', path, names)
    inputs = _kernel('units.chain', following, names).shape[-2]
    size = kernel.shape[-1]
    if not size or inputs % size:
      raise ValueError(
        f'units.chain: {following!r} of {inputs} inputs does not fit behind '
        f'{path!r} of {size} units. {_kernels(names)}'
      )
    bias = '/'.join([*path.split('/')[:-1], 'bias'])
    vectors = {bias: 0.0} if names.get(bias) is not None else {}
    name = path.removesuffix('/kernel')
    layers.append(Layer(name, path, following, vectors, inputs // size))
  resolve('units.chain', layers, _trees.flatten(params))
  return tuple(layers)


class Placed(NamedTuple):
  """A layer, with the numbers of its leaves in a flat tree."""

  name: str
  size: int  # H
  incoming: tuple[int, ...]
  outgoing: tuple[int, ...]
  vectors: tuple[tuple[int, float], ...]
  repeat: int

  @property
  def fed(self) -> tuple[int, ...]:
    """The numbers of incoming kernels and vectors."""
    return (*self.incoming, *(i for i, _ in self.vectors))

  @property
  def leaves(self) -> tuple[int, ...]:
    """The numbers of all its leaves."""
    return (*self.fed, *self.outgoing)

  def fan_in(self, leaves: Any) -> jax.Array:
    """The incoming kernels of a flat tree, [fan-in, H], one below the other."""
    whole = [_arrays.replicated(leaves[i]) for i in self.incoming]
    rows = [leaf.reshape(-1, self.size) for leaf in whole]
    return jnp.concatenate(rows)

  def fan_out(self, leaves: Any) -> jax.Array:
    """The outgoing kernels, [rest, H, out], side by side along out."""
    whole = [_arrays.replicated(leaves[i]) for i in self.outgoing]
    blocks = [leaf.reshape(-1, self.size, leaf.shape[-1]) for leaf in whole]
    if len({len(block) for block in blocks}) > 1:
      # Kernels of other widths fit beside one another only as one row.
      blocks = [
        block.swapaxes(0, 1).reshape(1, self.size, -1) for block in blocks
      ]
    return jnp.concatenate(blocks, axis=-1)

  def along_inputs(self, x: jax.Array) -> jax.Array:
    """A value for each unit, [H], where it belongs in an outgoing kernel."""
    return jnp.tile(x, self.repeat)[:, None]


def check_layers(owner: str, layers: Any) -> tuple[Layer, ...]:
  """The layers as a tuple; TypeError or ValueError for what are none."""
  is_list = isinstance(layers, Sequence) and not isinstance(layers, str)
  if not is_list or not all(isinstance(layer, Layer) for layer in layers):
    raise TypeError(
      f'{owner}: layers must be a sequence of units.Layer, got {layers!r}.'
    )
  if not layers:
    raise ValueError(f'{owner}: layers must be at least one, got none.')
  names = [layer.name for layer in layers]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f'{owner}: two layers are called {name!r}.')
  return tuple(layers)


def resolve(
  owner: str, layers: Sequence[Layer], flat: _trees.Flat
) -> list[Placed]:
  """Finds the leaves of layers, and checks that their shapes fit.

  ValueError names the layer and the leaf. Where the tree has no leaves, there
  are no layers either: `optax.tree.map_params` calls `init` so.
  """
  if not flat.leaves:
    return []
  names = _names(flat)
  number = {path: i for i, path in enumerate(names)}
  fed: dict[str, str] = {}
  placed = []
  for layer in layers:
    who = f'{owner}: layer {layer.name!r}'
    size = _kernel(who, layer.incoming[0], names).shape[-1]
    for path in (*layer.incoming, *(path for path, _ in layer.vectors)):
      if fed.setdefault(path, layer.name) != layer.name:
        raise ValueError(
          f'{who}: {path!r} feeds the units of layer {fed[path]!r} too.'
        )
    for path in layer.incoming:
      shape = _kernel(who, path, names).shape
      _check_shape(who, path, shape, shape[-1] == size, f'[..., in, {size}]')
    for path in layer.outgoing:
      shape = _kernel(who, path, names).shape
      inputs = layer.repeat * size
      form = f'[..., {inputs}, out], since {layer.repeat}·{size} = {inputs}'
      _check_shape(who, path, shape, shape[-2] == inputs, form)
    for path, _ in layer.vectors:
      shape = jnp.shape(_leaf(who, path, names))
      _check_shape(
        who, path, shape, shape == (size,), f'[{size}] (no stacked layers)'
      )
    placed.append(
      Placed(
        layer.name,
        size,
        tuple(number[path] for path in layer.incoming),
        tuple(number[path] for path in layer.outgoing),
        tuple((number[path], value) for path, value in layer.vectors),
        layer.repeat,
      )
    )
  return placed


def _are_paths(value: Any) -> bool:
  is_list = isinstance(value, Sequence) and not isinstance(value, str)
  return is_list and all(isinstance(path, str) for path in value)


def _names(flat: _trees.Flat) -> dict[str, Any]:
  """The leaves by path, in order."""
  found = flat.map_with_path(lambda path, leaf: (_trees.path_name(path), leaf))
  # A leaf that is None has no path here, but keeps its place.
  return {
    f'None {i}' if pair is None else pair[0]: pair and pair[1]
    for i, pair in enumerate(found)
  }


def _leaf(who: str, path: str, names: Mapping[str, Any]) -> Any:
  leaf = names.get(path)
  if leaf is None:
    raise ValueError(
      f'{who}: there is no leaf {path!r}. {_kernels(names)} Inside '
      'optax.masked and optax.partition every leaf of a layer must be there: '
      'put units.recycle around them.'
    )
  return leaf


def _kernel(who: str, path: str, names: Mapping[str, Any]) -> Any:
  leaf = _leaf(who, path, names)
  if jnp.ndim(leaf) < 2:
    raise ValueError(
      f'{who}: {path!r} of shape {jnp.shape(leaf)} is no kernel [..., in, '
      f'out]. {_kernels(names)}'
    )
  return leaf


def _kernels(names: Mapping[str, Any]) -> str:
  shapes = [
    f'{path!r} {jnp.shape(leaf)}'
    for path, leaf in names.items()
    if leaf is not None and jnp.ndim(leaf) > 1
  ]
  return f'The kernels are {", ".join(shapes) or "none"}.'


def _check_shape(
  who: str, path: str, shape: tuple[int, ...], fits: bool, form: str
) -> None:
  if not fits:
    raise ValueError(f'{who}: {path!r} must be {form}, got shape {shape}.')
