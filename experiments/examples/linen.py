"""Flax Linen: trains a network on the digits, logs α, and resumes."""

import tempfile

from flax import linen as nn
from flax.training import train_state
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits
from sklearn.utils import shuffle

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import neuroplastic

x, y = shuffle(*load_digits(return_X_y=True), random_state=0)
TRAIN, BATCH, EPOCHS = 1536, 32, 8  # 48 updates an epoch.
clip = optax.clip_by_global_norm(1.0)
direction = neuroplastic(diagnostics='global')
schedule = optax.warmup_cosine_decay_schedule(0.0, 0.3, 48, EPOCHS * 48)
tx = optax.chain(clip, direction, optax.scale_by_learning_rate(schedule))


class Model(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(128)(x / 16))
    return nn.Dense(10)(nn.relu(x))


class TrainState(train_state.TrainState):
  batch_stats: dict


@jax.jit
def train_step(state, x, y):
  def loss(params):
    variables = {'params': params, 'batch_stats': state.batch_stats}
    logits, changed = state.apply_fn(variables, x, True, mutable='batch_stats')
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean(), changed

  grads, changed = jax.grad(loss, has_aux=True)(state.params)
  return state.apply_gradients(grads=grads, **changed)


def train(folder, epochs):
  variables = Model().init(jax.random.key(0), x[:1], False)
  state = TrainState.create(apply_fn=Model().apply, tx=tx, **variables)
  with ocp.CheckpointManager(folder) as manager:
    if done := manager.latest_step() or 0:
      state = manager.restore(done, args=ocp.args.StandardRestore(state))
      print(f'resumed at update {state.step}')
    for epoch in range(done, epochs):
      order = np.random.default_rng(epoch).permutation(TRAIN)
      for batch in order.reshape(-1, BATCH):
        state = train_step(state, x[batch], y[batch])
      manager.save(epoch + 1, args=ocp.args.StandardSave(state))
      variables = {'params': state.params, 'batch_stats': state.batch_stats}
      logits = state.apply_fn(variables, x[TRAIN:], False)
      accuracy = np.mean(logits.argmax(-1) == y[TRAIN:])
      alpha = get_diagnostics(state.opt_state, flat=True)['alpha_mean']
      print(f'epoch {epoch + 1}: accuracy {accuracy:.4f}, mean α {alpha:.2f}')


folder = tempfile.mkdtemp()
train(folder, EPOCHS // 2)  # As if the program were stopped here.
train(folder, EPOCHS)
