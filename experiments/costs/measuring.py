"""What updates, training epochs, and steps in and out of a loop cost."""

from collections.abc import Iterable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.costs import timing
from experiments.optimizers.rivals import REFERENCE
from experiments.training import engine
from experiments.training import trials
from experiments.training import wiring

# What may follow the name of an optimizer after a +.
UPDATE_SUFFIXES = ('global', 'per_leaf')
TRAINING_SUFFIXES = ('diagnostics',)
_BATCH_SIZE = 128
# Of the epochs whose steps are compared with a step alone.
_LOOP_STEPS = 4


def updates(
  tree: models.ParameterTree,
  names: Iterable[str],
  seconds: float,
  rounds: int,
) -> list[timing.Row]:
  """Measures the update of a parameter tree alone, with random gradients.

  Args:
    tree: the parameters.
    names: the optimizers besides the reference; NAME+global and NAME+per_leaf
      keep diagnostics at every update.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    A row for each optimizer, the reference first.
  """
  shapes = tree.params()
  draw = jax.jit(functools.partial(_normal, shapes), static_argnums=0)
  gradient = draw(0)
  steps, state_bytes = {}, {}
  for name in dict.fromkeys((REFERENCE, *names)):
    arm_name, _, diagnostics = name.partition('+')
    arm = optimizers.ARMS[arm_name]
    kept: Any = diagnostics or None
    setting = dataclasses.replace(
      optimizers.PUBLISHED,
      stacked_axes=tree.stacked_axes,
      diagnostics=kept,
    )
    tx = arm.build(arm.numbers({}), setting)
    params = draw(1)
    state = jax.jit(tx.init)(params)
    state_bytes[name] = _nbytes(state)

    def step(
      carry: Any, gradient: Any, tx: optax.GradientTransformation = tx
    ) -> Any:
      params, state = carry
      updates, state = optax.with_extra_args_support(tx).update(
        gradient, state, params, value_fn=_cheap_loss
      )
      return optax.apply_updates(params, updates), state

    # A weakly typed leaf of a rival's state would not fit the next call.
    strong = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state)
    steps[name] = timing.Step(step, (params, strong), (gradient,))
  times = timing.interleaved(steps, seconds, rounds)
  return timing.rows(steps, times, state_bytes)


def _cheap_loss(params: Any) -> jax.Array:
  """A loss for optimizers that ask for its values, and not for gradients."""
  return jnp.asarray(sum(jnp.sum(x) for x in jax.tree.leaves(params)))


def _normal(shapes: Any, seed: int) -> Any:
  """Small random numbers of these shapes."""
  leaves, treedef = jax.tree.flatten(shapes)
  each = jax.random.split(jax.random.key(seed), len(leaves))
  values = [
    0.02 * jax.random.normal(key, leaf.shape, leaf.dtype)
    for key, leaf in zip(each, leaves, strict=True)
  ]
  return jax.tree.unflatten(treedef, values)


def epochs(
  names: Iterable[str], examples: int, seconds: float, rounds: int
) -> list[timing.Row]:
  """Measures whole epochs of `experiments.train`, one seed each.

  Args:
    names: the optimizers besides the reference; NAME+diagnostics keeps those of
      the last update of an epoch, as the program does.
    examples: images of an epoch.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    A row for each optimizer, the reference first.
  """
  dataset = data.load(f'synthetic:28x28x1:10:{examples}:1000')
  trial = trials.make_trials(dataset, [0])
  pixels = engine.to_device(dataset)
  setting = dataclasses.replace(
    optimizers.PUBLISHED, steps_per_epoch=-(-examples // _BATCH_SIZE)
  )
  steps, state_bytes = {}, {}
  for name in dict.fromkeys((REFERENCE, *names)):
    arm_name, _, diagnostics = name.partition('+')
    arm = optimizers.ARMS[arm_name]
    trainer = wiring.trainer(
      arm,
      setting,
      spec=dataset.spec,
      make_model=models.MODELS['mlp'].make,
      batch_size=_BATCH_SIZE,
      diagnosed=bool(diagnostics),
    )
    own = trial.at({optimizers.LEARNING_RATE: arm.learning_rate})
    state = jax.jit(trainer.init)(own)
    state_bytes[name] = _nbytes(state.opt_state)

    def epoch(
      state: engine.TrainState,
      own: trials.Trials,
      pixels: engine.Pixels,
      n: jax.Array,
      trainer: engine.Trainer = trainer,
    ) -> engine.TrainState:
      state = trainer.update(state, own, pixels, n)
      return trainer.close(state, own, pixels)[0]

    n = jnp.int32(trainer.steps(own) - 1)
    steps[name] = timing.Step(epoch, state, (own, pixels, n))
  times = timing.interleaved(steps, seconds, rounds)
  return timing.rows(steps, times, state_bytes)


def loop(
  name: str, batch_size: int, seconds: float, rounds: int
) -> timing.LoopRow:
  """Measures a training step as a program of its own, and within an epoch.

  Args:
    name: of the model; it trains on images of the shape that it was published
      for, with the reference optimizer.
    batch_size: examples of a step.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    The row.
  """
  model = models.MODELS[name]
  shape = 'x'.join(str(size) for size in model.shape)
  dataset = data.load(f'synthetic:{shape}:10:{_LOOP_STEPS * batch_size}:10')
  pixels = engine.to_device(dataset)
  arm = optimizers.ARMS[REFERENCE]
  trainer = wiring.trainer(
    arm,
    dataclasses.replace(optimizers.PUBLISHED, steps_per_epoch=_LOOP_STEPS),
    spec=dataset.spec,
    make_model=model.make,
    batch_size=batch_size,
  )
  trial = trials.make_trials(dataset, [0]).at(
    {optimizers.LEARNING_RATE: arm.learning_rate}
  )
  state = jax.jit(trainer.init)(trial)
  first_trial, first_state = jax.tree.map(lambda x: x[0], (trial, state))

  def alone(state: Any, batch: Any, trial: Any, pixels: Any) -> Any:
    return trainer.step(state, trainer.batch(batch, trial, pixels), trial=trial)

  constants = jnp.arange(batch_size), first_trial, pixels
  steps = {
    'alone': timing.Step(alone, first_state, constants),
    'epoch': timing.Step(
      trainer.update, state, (trial, pixels, jnp.int32(_LOOP_STEPS))
    ),
  }
  times = timing.interleaved(steps, seconds, rounds)
  return timing.loop_row(name, times['alone'], times['epoch'], _LOOP_STEPS)


def _nbytes(tree: Any) -> int:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
