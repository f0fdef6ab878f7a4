"""Measures updates and training: alone, in a loop, and in a stream."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.configs.training import Training
from experiments.costs import timing
from experiments.data import streams
from experiments.optimizers.rivals import REFERENCE
from experiments.training import engine
from experiments.training import lapack
from experiments.training import wiring
from experiments.training.feeds import Epochs

# One measured optimizer, model or stream, by the columns of its table.
Row = dict[str, Any]
# Measures programs in turn; gives the times of each: `timing.interleaved`.
Measure = Callable[[Mapping[str, timing.Step]], dict[str, list[float]]]
# Allowed suffixes NAME+SUFFIX of an optimizer.
UPDATE_SUFFIXES = ('global', 'per_leaf')
TRAINING_SUFFIXES = ('diagnostics',)
# Of the epochs whose steps are compared with a step alone.
_LOOP_STEPS = 4


class _Program:
  """The training of one seed by an optimizer, ready to be timed.

  An optimizer NAME+diagnostics keeps those of the last update of an epoch, as
  `experiments.train` does.
  """

  def __init__(
    self,
    setup: wiring.Setup,
    pixels: engine.Pixels,
    name: str = REFERENCE,
    *,
    measure: bool = True,
  ) -> None:
    arm, _, diagnostics = name.partition('+')
    self._pixels = pixels
    self._trainer = setup.trainer(
      arm, diagnosed=bool(diagnostics), measure=measure
    )
    self._trial = setup.trials.at(
      {optimizers.LEARNING_RATE: optimizers.ARMS[arm].learning_rate}
    )
    self._state = jax.jit(self._trainer.init)(self._trial)

  def _step(self, function: Any, state: Any, *constants: Any) -> timing.Step:
    return timing.Step(function, state, constants, self._state.opt_state)

  def epoch(self) -> timing.Step:
    """A whole epoch, or a task of a stream."""
    trainer = self._trainer

    def epoch(state: Any, trial: Any, pixels: Any, n: jax.Array) -> Any:
      state = trainer.update(state, trial, pixels, n)
      return trainer.close(state, trial, pixels)[0]

    n = jnp.int32(trainer.feed.steps(self._trial) - 1)
    return self._step(epoch, self._state, self._trial, self._pixels, n)

  def looped(self, updates: int) -> timing.Step:
    """So many updates, of an epoch that has more."""
    constants = self._trial, self._pixels, jnp.int32(updates)
    return self._step(self._trainer.update, self._state, *constants)

  def step(self, batch_size: int) -> timing.Step:
    """A training step that is a program of its own, as most people write it."""
    trainer = self._trainer
    trial, state = jax.tree.map(lambda x: x[0], (self._trial, self._state))

    def step(state: Any, chosen: Any, trial: Any, pixels: Any) -> Any:
      batch = Epochs(batch_size).of(chosen, trial, pixels)
      return trainer.step(state, batch, trial=trial).state

    chosen = jnp.arange(batch_size)
    return self._step(step, state, chosen, trial, self._pixels)


def _set_up(
  model: str, batch_size: int, examples: int, **more: Any
) -> tuple[wiring.Setup, engine.Pixels]:
  """The training of a model on noise of the shape it was published for."""
  shape = 'x'.join(str(size) for size in models.MODELS[model].shape)
  dataset = data.load(f'synthetic:{shape}:10:{examples}:2000')
  training = Training(dataset.spec.name, model, batch_size=batch_size, **more)
  return wiring.set_up(training, dataset, [0]), engine.to_device(dataset)


def _compared(
  names: Iterable[str], make: Callable[[str], timing.Step], measure: Measure
) -> list[Row]:
  """Measures the programs of the reference and of other optimizers.

  Returns:
    A row for each optimizer, the reference first: its `name`; `seconds`, the
    median wall time of a step; `ratio`, the median over rounds of its time to
    the reference's; and the attributes of its step.
  """
  steps = {name: make(name) for name in _with_reference(names)}
  times = measure(steps)
  return [
    {
      'name': name,
      'seconds': statistics.median(times[name]),
      'ratio': timing.ratio(times[name], times[REFERENCE]),
      'state_bytes': step.state_bytes,
      'bytes_accessed': step.bytes_accessed,
      'compile_seconds': step.compile_seconds,
    }
    for name, step in steps.items()
  ]


def _with_reference(names: Iterable[str]) -> list[str]:
  return list(dict.fromkeys((REFERENCE, *names)))


def steps(
  model: str, names: Iterable[str], batch_size: int, measure: Measure
) -> list[Row]:
  """Measures whole training steps: batch, gradient, update; see `_compared`."""
  setup = _set_up(model, batch_size, _LOOP_STEPS * batch_size)
  make = lambda name: _Program(*setup, name).step(batch_size)
  return _compared(names, make, measure)


def epochs(names: Iterable[str], examples: int, measure: Measure) -> list[Row]:
  """Measures whole epochs of the MLP at its published batch size.

  The optimizers are those of `_Program`, the rows those of `_compared`.
  """
  setup = _set_up('mlp', 128, examples)
  return _compared(names, lambda name: _Program(*setup, name).epoch(), measure)


def loop(model: str, batch_size: int, measure: Measure) -> Row:
  """Measures a training step as a program of its own, and within an epoch.

  The reference optimizer trains the model.

  Returns:
    The `name` of the model, the median `alone_seconds` and `loop_seconds` of a
    step, and the `ratio` of the second to the first, the median over rounds.
  """
  program = _Program(*_set_up(model, batch_size, _LOOP_STEPS * batch_size))
  times = measure(
    {'alone': program.step(batch_size), 'epoch': program.looped(_LOOP_STEPS)}
  )
  in_loop = [epoch / _LOOP_STEPS for epoch in times['epoch']]
  return {
    'name': model,
    'alone_seconds': statistics.median(times['alone']),
    'loop_seconds': statistics.median(in_loop),
    'ratio': timing.ratio(in_loop, times['alone']),
  }


def stream(name: str, updates: int | None, measure: Measure) -> Row:
  """Measures a task of a stream, with and without its measures.

  The reference optimizer trains the model of the stream.

  Returns:
    The `name`; the `updates` of a task; the median `plain_seconds` of as many
    updates of ordinary training, `stream_seconds` of a task without its
    measures and `measured_seconds` with them; `ratio`, of the second to the
    first, and `measures_ratio`, of the third to the second, medians over
    rounds.
  """
  chosen = streams.STREAMS[name]
  size = chosen.batch_size
  count = updates or chosen.updates or (chosen.images or 0) // size
  shape = chosen.model, size, count * size
  tasks = _set_up(*shape, stream=name, tasks=chosen.tasks, updates=count)
  programs = {
    'plain': _Program(*_set_up(*shape)).epoch(),
    'stream': _Program(*tasks, measure=False).epoch(),
    'measured': _Program(*tasks).epoch(),
  }
  with lapack.one_thread():
    times = measure(programs)
  return {
    'name': name,
    'updates': count,
    **{f'{k}_seconds': statistics.median(x) for k, x in times.items()},
    'ratio': timing.ratio(times['stream'], times['plain']),
    'measures_ratio': timing.ratio(times['measured'], times['stream']),
  }


def updates(
  tree: models.ParameterTree, names: Iterable[str], measure: Measure
) -> list[Row]:
  """Measures the update of a parameter tree alone, with random gradients.

  NAME+global and NAME+per_leaf keep diagnostics at every update. The rows are
  those of `_compared`.
  """
  return _compared(names, functools.partial(_update, tree), measure)


def compile_times(counts: Sequence[int], names: Iterable[str]) -> list[Row]:
  """Measures how long updates of so many leaves, 64 × 64 each, take to compile.

  Returns:
    A row for each optimizer, the reference first: its `name`, and by the number
    of leaves the `seconds` of tracing and compilation.
  """
  return [
    {
      'name': name,
      'seconds': {
        count: _update(models.leaves(count, 64), name).compile_seconds
        for count in counts
      },
    }
    for name in _with_reference(names)
  ]


def _update(tree: models.ParameterTree, name: str) -> timing.Step:
  """The update of a parameter tree."""
  draw = jax.jit(functools.partial(_normal, tree.params()), static_argnums=0)
  arm_name, _, diagnostics = name.partition('+')
  arm = optimizers.ARMS[arm_name]
  context: Any = dataclasses.replace(
    optimizers.PUBLISHED,
    stacked_axes=tree.stacked_axes,
    diagnostics=diagnostics or None,  # type: ignore[arg-type]
  )
  tx = arm.build(arm.values({}), context)
  params = draw(1)
  state = jax.jit(tx.init)(params)
  # For optimizers that ask for values of the loss, and not for gradients.
  cheap = lambda params: jnp.asarray(sum(map(jnp.sum, jax.tree.leaves(params))))

  def step(carry: Any, gradient: Any) -> Any:
    params, state = carry
    updates, state = optax.with_extra_args_support(tx).update(
      gradient, state, params, value_fn=cheap
    )
    return optax.apply_updates(params, updates), state

  # A weakly typed leaf of a rival's state would not fit the next call.
  strong = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state)
  return timing.Step(step, (params, strong), (draw(0),), state)


def _normal(shapes: Any, seed: int) -> Any:
  """Small random numbers of these shapes."""
  leaves, treedef = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  values = [
    0.02 * jax.random.normal(key, leaf.shape, leaf.dtype)
    for key, leaf in zip(keys, leaves, strict=True)
  ]
  return jax.tree.unflatten(treedef, values)
