"""Small networks whose units are recycled, and their activations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import units


def mlp_params(seed=0, sizes=(4, 6, 5, 3)):
  """`a`, `b`, `c`, each with a kernel and a bias."""
  rng = np.random.default_rng(seed)
  leaf = lambda *shape: jnp.asarray(rng.normal(size=shape) / 2, 'float32')
  pairs = zip('abc', sizes[:-1], sizes[1:], strict=True)
  return {name: {'kernel': leaf(n, m), 'bias': leaf(m)} for name, n, m in pairs}


def mlp(params, x):
  """The output, and the activations by layer."""
  a = jax.nn.relu(x @ params['a']['kernel'] + params['a']['bias'])
  b = jax.nn.relu(a @ params['b']['kernel'] + params['b']['bias'])
  return b @ params['c']['kernel'] + params['c']['bias'], {'a': a, 'b': b}


def mlp_layers(params):
  return units.chain(params, ['a/kernel', 'b/kernel', 'c/kernel'])


def batches(count, seed=0, n=8, width=4):
  """Inputs, a few of them so that many units are silent."""
  rng = np.random.default_rng(seed)
  return [
    jnp.asarray(rng.normal(size=(n, width)), 'float32') for _ in range(count)
  ]


def gradient(params, x):
  """The gradient of a squared error, and the activations."""

  def loss(params):
    y, activations = mlp(params, x)
    return jnp.mean(jnp.square(y - jnp.sin(x[:, :3]))), activations

  return jax.grad(loss, has_aux=True)(params)


@dataclasses.dataclass(frozen=True)
class Fixed(units.Rule):
  """Recycles given shares of units, by the name of the layer."""

  shares: tuple = ()

  def init(self, layer, size):
    return jnp.asarray(dict(self.shares).get(layer.name, [0.0] * size))

  def choose(self, state, seen):
    return state, state


def fixed(**shares):
  return Fixed(tuple((name, tuple(r)) for name, r in shares.items()))
