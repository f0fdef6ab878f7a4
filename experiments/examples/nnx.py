"""Flax NNX: trains a network on the digits, logs α, and resumes."""

import tempfile

from flax import nnx
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits
from sklearn.utils import shuffle

from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import neuroplastic

x, y = shuffle(*load_digits(return_X_y=True), random_state=0)
x = np.float32(x / 16)
TRAIN, BATCH, EPOCHS = 1536, 32, 8  # 48 updates an epoch.
clip = optax.clip_by_global_norm(1.0)
direction = neuroplastic(diagnostics='per_leaf')
schedule = optax.warmup_cosine_decay_schedule(0.0, 0.3, 48, EPOCHS * 48)
tx = optax.chain(clip, direction, optax.scale_by_learning_rate(schedule))


class Model(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(64, 128, rngs=rngs)
    self.norm = nnx.BatchNorm(128, rngs=rngs)
    self.out = nnx.Linear(128, 10, rngs=rngs)

  def __call__(self, x):
    return self.out(nnx.relu(self.norm(self.hidden(x))))


@nnx.jit
def train_step(model, optimizer, x, y):
  def loss(model):
    losses = optax.softmax_cross_entropy_with_integer_labels(model(x), y)
    return losses.mean()

  optimizer.update(model, nnx.grad(loss)(model))


def train(folder, epochs):
  model = Model(nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  with ocp.CheckpointManager(folder) as manager:
    if done := manager.latest_step() or 0:
      restore = ocp.args.StandardRestore(nnx.state((model, optimizer)))
      nnx.update((model, optimizer), manager.restore(done, args=restore))
      print(f'resumed at update {optimizer.step[...]}')
    for epoch in range(done, epochs):
      model.train()
      order = np.random.default_rng(epoch).permutation(TRAIN)
      for batch in order.reshape(-1, BATCH):
        train_step(model, optimizer, x[batch], y[batch])
      model.eval()
      accuracy = np.mean(model(x[TRAIN:]).argmax(-1) == y[TRAIN:])
      save = ocp.args.StandardSave(nnx.state((model, optimizer)))
      manager.save(epoch + 1, args=save)
      log = get_diagnostics(optimizer, flat=True)  # Scalars, for a logger.
      alpha = log['hidden/kernel/alpha_mean']
      print(f'epoch {epoch + 1}: accuracy {accuracy:.4f}, mean α {alpha:.2f}')


folder = tempfile.mkdtemp()
train(folder, EPOCHS // 2)  # As if the program were stopped here.
train(folder, EPOCHS)
