"""Loss of plasticity: Adam stops learning new tasks, and a wrapper helps.

A network learns random labels of the same 400 patterns by heart, then other
random labels, and so on. Saves a picture: `python plasticity.py picture.png`.
"""

import sys

from flax import nnx
from matplotlib.figure import Figure
import numpy as np
import optax

from neuroplastic_optax import mechanisms

TASKS, PATTERNS, BATCH, EPOCHS = 12, 400, 16, 100  # 2500 updates a task.


class Model(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Linear(64, 48, rngs=rngs)
    self.second = nnx.Linear(48, 48, rngs=rngs)
    self.out = nnx.Linear(48, 10, rngs=rngs)

  def __call__(self, x):
    return self.out(nnx.relu(self.second(nnx.relu(self.first(x)))))


@nnx.jit
def learn(model, optimizer, x, y, batches):
  @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
  def step(carry, batch):
    model, optimizer = carry
    entropy = optax.softmax_cross_entropy_with_integer_labels
    loss = lambda model: entropy(model(x[batch]), y[batch]).mean()
    optimizer.update(model, nnx.grad(loss)(model))
    return carry

  step((model, optimizer), batches)
  return (model(x).argmax(-1) == y).mean()


def accuracies(tx):  # At the end of each task.
  rng = np.random.default_rng(0)
  x = rng.normal(size=(PATTERNS, 64)).astype(np.float32)
  model = Model(nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  for _ in range(TASKS):
    y = rng.integers(0, 10, PATTERNS)
    order = [rng.permutation(PATTERNS) for _ in range(EPOCHS)]
    batches = np.reshape(order, (-1, BATCH))
    yield float(learn(model, optimizer, x, y, batches))


adam = optax.adam(3e-3)
wrapped = mechanisms.regenerate_inactive(adam)
arms = {'Adam': adam, 'Adam, inactive weights regenerated': wrapped}
figure = Figure(figsize=(6, 3.5), layout='constrained')
axes = figure.add_subplot(xlabel='task', ylabel='accuracy', ylim=(0, 1.05))
for name, tx in arms.items():
  found = list(accuracies(tx))
  print(f'{name}: {" ".join(f"{x:.2f}" for x in found)}', end='; ')
  print(f'mean of the last four {np.mean(found[-4:]):.2f}')
  axes.plot(range(1, TASKS + 1), found, marker='o', label=name)
axes.axhline(0.1, color='gray', linestyle=':', label='chance')
axes.legend(loc=(0.4, 0.6))
figure.savefig(sys.argv[1] if sys.argv[1:] else 'plasticity.png')
