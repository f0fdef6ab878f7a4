"""`Layer` and `chain`: paths, shapes and what is refused; `check`."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import units
from tests.units import networks
from tests.units.test_recycle import NETWORKS


def test_layer_is_frozen_and_hashable_and_keeps_tuples():
  layer = units.Layer('h', 'a/kernel', ['b', 'c'], {'a/bias': 0, 's': 1.0})
  assert layer.incoming == ('a/kernel',)
  assert layer.outgoing == ('b', 'c')
  assert layer.vectors == (('a/bias', 0.0), ('s', 1.0))
  assert hash(layer) == hash(dataclasses.replace(layer))
  assert layer == units.Layer('h', 'a/kernel', ('b', 'c'), layer.vectors)
  with pytest.raises(dataclasses.FrozenInstanceError):
    layer.repeat = 2


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((1, 'a', 'b'), 'Layer.name must be a string'),
    (('h', 1, 'b'), 'Layer.incoming must be a path'),
    (('h', 'a', ()), 'Layer.outgoing must be a path'),
    (('h', 'a', 'b', {'c': 'x'}), 'Layer.vectors must be numbers by path'),
    (('h', 'a', 'b', {1: 0.0}), 'Layer.vectors must be numbers by path'),
    (('h', 'a', 'b', {}, 0), 'Layer.repeat must be an integer'),
  ],
)
def test_bad_layers_are_refused(arguments, message):
  with pytest.raises((TypeError, ValueError), match=message):
    units.Layer(*arguments)


def test_chain_of_nnx_has_the_same_paths():
  class Net(nnx.Module):
    def __init__(self, rngs):
      self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
      self.head = nnx.Linear(4 * 6, 2, rngs=rngs)

  params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
  (layer,) = units.chain(params, ['conv/kernel', 'head/kernel'])
  assert layer == units.Layer(
    'conv', 'conv/kernel', 'head/kernel', {'conv/bias': 0.0}, 6
  )


def test_chain_refuses_what_does_not_fit():
  params = networks.mlp_params() | {'stack': {
    'kernel': jnp.ones((2, 4, 6)), 'bias': jnp.ones((2, 6))
  }}  # fmt: skip
  for paths, message in (
    (['a/kernel', 'nowhere'], "no leaf 'nowhere'.*'a/kernel' \\(4, 6\\)"),
    (['a/kernel', 'a/bias'], "'a/bias' of shape .* is no kernel.*kernels are"),
    (['a/kernel', 'c/kernel'], "'c/kernel' of 5 inputs does not fit behind"),
    (['stack/kernel', 'b/kernel'], 'no stacked layers'),
    (['a/kernel'], 'at least two'),
    ('ab', 'must be a list of paths'),
  ):
    with pytest.raises((TypeError, ValueError), match=message):
      units.chain(params, paths)


def test_layers_that_share_units_or_do_not_fit_are_refused():
  params = networks.mlp_params()
  a, _ = networks.mlp_layers(params)
  for layers, message in (
    ([a, dataclasses.replace(a, name='x')], "feeds the units of layer 'a' too"),
    ([dataclasses.replace(a, repeat=2)], r"layer 'a': 'b/kernel'.*2·6 = 12"),
    ([dataclasses.replace(a, incoming=('a/kernel', 'b/kernel'))], 'must be'),
    ([dataclasses.replace(a, vectors={'b/bias': 0.0})], "'b/bias' must be"),
  ):
    with pytest.raises(ValueError, match=message):
      units.check(lambda p, x: networks.mlp(p, x)[0], params, layers, None)


# By experiment.


@pytest.mark.parametrize('name', NETWORKS)
def test_check_holds_right_layers(name):
  params, layers, apply, shape = NETWORKS[name]()
  x = jax.random.normal(jax.random.key(1), shape)
  for key in range(3):
    units.check(jax.jit(apply), params, layers, x, key=key)


def test_check_finds_forgotten_vectors_and_kernels():
  params, (layer,), apply, shape = NETWORKS['norm']()
  x = jax.random.normal(jax.random.key(1), shape)
  for path, _ in layer.vectors:
    vectors = {k: v for k, v in layer.vectors if k != path}
    wrong = dataclasses.replace(layer, vectors=vectors)
    with pytest.raises(ValueError, match=f"layer 'h' forgets '{path}'"):
      units.check(apply, params, [wrong], x)
  params, (layer,), apply, shape = NETWORKS['gated']()
  wrong = dataclasses.replace(layer, incoming='up')
  with pytest.raises(ValueError, match="forgets 'gate'"):
    units.check(apply, params, [wrong], x)
  wrong = dataclasses.replace(layer, outgoing='down')
  with pytest.raises(ValueError, match='outgoing weights are 0'):
    units.check(apply, params, [wrong], x)


def test_check_finds_another_order_and_swapped_layers():
  params, layers, apply, shape = NETWORKS['conv']()
  x = jax.random.normal(jax.random.key(1), shape)
  head = params['head']['kernel']

  def other_order(params, x):
    """As if the units were the slowest index."""
    moved = params['head']['kernel'].reshape(3, 20, 2).swapaxes(0, 1)
    head = params['head'] | {'kernel': moved.reshape(head_shape)}
    return apply(params | {'head': head}, x)

  head_shape = head.shape
  with pytest.raises(ValueError, match="layer 'more'.*flattened in another"):
    units.check(other_order, params, layers, x)
  params = networks.mlp_params(sizes=(5, 5, 5, 5))
  x = jax.random.normal(jax.random.key(1), (8, 5))
  swapped = units.chain(params, ['b/kernel', 'a/kernel', 'c/kernel'])
  with pytest.raises(ValueError, match="layer 'b'.*Are layers swapped"):
    units.check(lambda p, x: networks.mlp(p, x)[0], params, swapped, x)


def test_check_of_an_output_layer_of_zeros_shows_nothing():
  params = networks.mlp_params()
  params['c']['kernel'] *= 0
  x = jnp.asarray(np.ones((2, 4)), 'float32')
  with pytest.raises(ValueError, match='output layer not all 0'):
    units.check(
      lambda p, x: networks.mlp(p, x)[0],
      params,
      networks.mlp_layers(params),
      x,
    )
