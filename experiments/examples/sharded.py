"""A transformer, sharded over devices under `jit`, with `optax.MultiSteps`."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic

jax.config.update('jax_num_cpu_devices', 8)  # A CPU simulates eight devices.
devices = np.reshape(jax.devices(), (-1, 4))
jax.set_mesh(jax.sharding.Mesh(devices, ('data', 'model')))
LAYERS, HEADS, WIDTH, LENGTH, BATCH, STEPS = 2, 4, 64, 64, 8, 96
rng = np.random.default_rng(0)
text = np.fromfile(argparse.__file__, np.uint8)  # ASCII.
starts = rng.integers(len(text) - LENGTH, size=(STEPS, BATCH, 1))
batches = text[starts + np.arange(LENGTH)]
direction = neuroplastic(
  optax.scale_by_adam(),
  modulation=modulations.Gain(strength=0.15),
  stacked_axes=lambda path, leaf: int('blocks' in str(path)),
)
rate = optax.scale_by_learning_rate(optax.cosine_decay_schedule(0.01, 48))
tx = optax.chain(optax.clip_by_global_norm(1.0), direction, rate)
tx = optax.MultiSteps(tx, every_k_schedule=2)  # One update for two batches.


def loss(params, tokens):
  def block(x, kernels):
    qkv = jax.nn.standardize(x) @ kernels['qkv']
    q, k, v = jnp.split(qkv.reshape(*x.shape[:2], HEADS, -1), 3, axis=-1)
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    x += y.reshape(x.shape) @ kernels['out']
    y = jax.nn.gelu(jax.nn.standardize(x) @ kernels['up'])
    return x + y @ kernels['down'], None

  x = params['tokens'][tokens] + params['positions']
  x, _ = jax.lax.scan(block, x, params['blocks'])
  logits = jax.nn.standardize(x[:, :-1]) @ params['tokens'].T
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels
  return cross_entropy(logits, tokens[:, 1:]).mean()


@jax.jit
def train_step(params, state, tokens):
  value, grads = jax.value_and_grad(loss)(params, tokens)
  updates, state = tx.update(grads, state, params)
  return optax.apply_updates(params, updates), state, value


def init(*shape):  # The last axis is split over the devices of `model`.
  x = np.float32(rng.normal(size=shape, scale=WIDTH**-0.5))
  return jax.device_put(x, jax.P(*[None] * (x.ndim - 1), 'model'))


shapes = {'qkv': (WIDTH, 3 * WIDTH), 'out': (WIDTH, WIDTH)}
shapes |= {'up': (WIDTH, 4 * WIDTH), 'down': (4 * WIDTH, WIDTH)}
params = {'tokens': init(128, WIDTH), 'positions': init(LENGTH, WIDTH)}
params['blocks'] = {name: init(LAYERS, *shapes[name]) for name in shapes}
state = tx.init(params)  # Sharded like the params.
for step, batch in enumerate(batches):
  batch = jax.device_put(batch, jax.P('data'))
  params, state, value = train_step(params, state, batch)
  if step % 24 == 23:
    print(f'update {state.gradient_step}: loss {value:.2f}')
print(optax.tree.get(state, 'activity')['blocks']['up'].sharding.spec)
