"""What a stream costs, beside ordinary training of as many updates."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.costs import timing
from experiments.data import streams
from experiments.optimizers.rivals import REFERENCE
from experiments.training import engine
from experiments.training import lapack
from experiments.training import tasks
from experiments.training import trials
from experiments.training import wiring

# Of ordinary training, of the stream, and of the stream with all measures.
_PLAIN, _STREAM, _MEASURED = 'plain', 'stream', 'measured'


def task(
  name: str, updates: int | None, seconds: float, rounds: int
) -> timing.StreamRow:
  """Measures a task of a stream, with and without its measures.

  Args:
    name: of the stream; its own model is trained, by the reference optimizer,
      on images of Fashion-MNIST's shape.
    updates: of a task; None for what the stream says.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    The row.
  """
  stream = streams.STREAMS[name]
  count = updates or stream.updates or (stream.images or 0) // stream.batch_size
  examples = count * stream.batch_size
  dataset = data.load(f'synthetic:28x28x1:10:{examples}:2000')
  feed = tasks.make_tasks(stream, dataset, updates=count)
  steps = {
    _PLAIN: _step(stream, dataset, None),
    _STREAM: _step(stream, dataset, feed, measure=False),
    _MEASURED: _step(stream, dataset, feed),
  }
  with lapack.one_thread():
    times = timing.interleaved(steps, seconds, rounds)
  return timing.stream_row(
    name, feed.updates, times[_PLAIN], times[_STREAM], times[_MEASURED]
  )


def _step(
  stream: streams.Stream,
  dataset: data.Dataset,
  feed: tasks.Tasks | None,
  *,
  measure: bool = True,
) -> timing.Step:
  """An epoch of one seed that is as long as a task, or the task itself."""
  arm = optimizers.ARMS[REFERENCE]
  trainer = wiring.trainer(
    arm,
    optimizers.PUBLISHED,
    spec=dataset.spec,
    make_model=models.MODELS[stream.model].make,
    batch_size=stream.batch_size,
    tasks=feed,
    measure=measure,
  )
  trial = trials.make_trials(
    dataset, [0], images=feed.images if feed else None
  ).at({optimizers.LEARNING_RATE: arm.learning_rate})

  def epoch(state: Any, trial: Any, pixels: Any, n: jax.Array) -> Any:
    state = trainer.update(state, trial, pixels, n)
    return trainer.close(state, trial, pixels)[0]

  n = jnp.int32(trainer.steps(trial) - 1)
  state = jax.jit(trainer.init)(trial)
  return timing.Step(epoch, state, (trial, engine.to_device(dataset), n))
