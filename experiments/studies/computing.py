"""Computes a cell: all trials of an arm on a task, in one compiled program."""

import dataclasses
import functools
import math
import time
from typing import Any

import jax
import numpy as np

from experiments import data
from experiments import interrupts
from experiments.studies.cells import Cell
from experiments.studies.cells import Outcome
from experiments.training import engine
from experiments.training import mapping
from experiments.training import stream_measures
from experiments.training import wiring
from experiments.training.records import History
from experiments.training.session import Session

# A run without a held-out part is evaluated on so many of its training images:
# that shows whether it diverged at its last update.
_WATCHED = 1000
# Compiles in a third of the time, for programs that hardly run.
_QUICK = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}


def compute(cell: Cell, dataset: data.Dataset) -> Outcome:
  """Trains and evaluates a cell on the data set of its task.

  The test part is read after the last epoch if the cell tests, else never.

  Raises:
    StoppedError: a signal asked the process to end; a cell keeps nothing.
  """
  start = time.perf_counter()
  part = training_part(cell, dataset)
  session = make_session(cell, part)
  with interrupts.Stop() as stop:

    def pause() -> None:
      if stop.number:
        raise interrupts.StoppedError(stop.number, 'in the middle of a cell')

    for _ in range(cell.task.length):
      session.train_epoch(pause)
  history = session.history
  found = (
    _of_stream(cell, history)
    if cell.task.stream
    else _of_epochs(cell, session, part, dataset)
  )
  return Outcome(
    **found,
    diverged=history.diverged().tolist(),
    steps_per_epoch=session.steps,
    seconds=time.perf_counter() - start,
    alpha=history.diagnostics.summary() if history.diagnostics.epochs else None,
  )


def _of_epochs(
  cell: Cell,
  session: Session,
  part: data.Dataset,
  dataset: data.Dataset,
) -> dict[str, Any]:
  """The curves, and the test accuracy if the cell tests."""
  names = {'train_loss': 'train_loss', 'train_accuracy': 'train_accuracy'}
  if cell.task.held_out or not cell.tests:
    names |= {
      'validation_loss': 'test_loss',
      'validation_accuracy': 'test_accuracy',
    }
  tested = None
  if cell.tests:
    pixels = engine.to_device(
      dataclasses.replace(
        part, test_images=dataset.test_images, test_labels=dataset.test_labels
      )
    )
    shared = mapping.replicate(pixels, cell.size)
    tested = session.evaluate_on(shared).accuracy.tolist()
  history = session.history
  curves = {name: _finite(history[of]) for name, of in names.items()}
  return {'curves': curves, 'test_accuracy': tested}


def _of_stream(cell: Cell, history: History) -> dict[str, Any]:
  """The measures of a stream, which were taken while it was learned."""
  found = stream_measures.by_task(history)
  score = found.get('average_accuracy')
  if score is None:
    # After each task, the online accuracy of all tasks so far.
    online = found[stream_measures.ONLINE_ACCURACY]
    score = np.cumsum(online, axis=1) / (1 + np.arange(online.shape[1]))
  curves = {'train_loss': _finite(history[stream_measures.ONLINE_LOSS])}
  if not cell.tests:
    curves['validation_accuracy'] = _finite(score)
  evaluated = cell.tests and history.evaluations.size
  return {
    'curves': curves,
    'test_accuracy': score[:, -1].tolist() if cell.tests else None,
    'measures': {
      name: _finite(values)
      for name, values in found.items()
      if not name.endswith('_seconds')
    },
    'evaluations': history.evaluations.tolist() if evaluated else None,
  }


def training_part(cell: Cell, dataset: data.Dataset) -> data.Dataset:
  """The data of a cell: its test part is evaluated while training."""
  if cell.task.stream and cell.tests:
    return dataset
  if cell.task.held_out or not cell.tests:
    return data.validation(dataset)
  return dataclasses.replace(
    dataset,
    test_images=dataset.train_images[:_WATCHED],
    test_labels=dataset.train_labels[:_WATCHED],
  )


def make_session(cell: Cell, part: data.Dataset) -> Session:
  """The training of a cell, compiled, before its first update."""
  found = wiring.set_up(cell.task, part, cell.seeds)
  trainer = found.trainer(cell.arm, diagnosed=cell.tests)
  pixels = mapping.replicate(engine.to_device(part), cell.size)
  session = Session(trainer, found.trials.combined(cell.trials), pixels)
  session.compile(quick() if cell.task.quick else None)
  return session


def _finite(values: np.ndarray) -> list[list[float | None]]:
  """As JSON has it."""
  return [
    [float(x) if math.isfinite(x) else None for x in row] for row in values
  ]


@functools.cache
def quick() -> dict[str, Any]:
  """The options of `_QUICK` that this version of the compiler knows."""
  known = {}
  for name, value in _QUICK.items():
    try:
      jax.jit(lambda: 0, compiler_options={name: value})()
    except jax.errors.JaxRuntimeError:
      continue
    known[name] = value
  return known
