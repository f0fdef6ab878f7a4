"""The training of one arm: its programs, its position and its clock."""

from collections.abc import Callable
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

from experiments.training import checkpoints
from experiments.training import distributed
from experiments.training import engine
from experiments.training import lapack
from experiments.training import learning
from experiments.training import mapping
from experiments.training.records import History
from experiments.training.trials import Trials

# How long a call of a program should take.
_SECONDS = 2.0


class Pace:
  """Learns how many seconds a unit of work takes, so that no call takes long.

  Before the first call that is None.
  """

  def __init__(self) -> None:
    self.per_unit: float | None = None

  def units(self, left: int) -> int:
    """How many units the next call gets, of those that are left: at least 1."""
    if self.per_unit is None:
      return 1
    return max(1, min(left, int(_SECONDS / max(self.per_unit, 1e-9))))

  def took(self, units: int, seconds: float) -> None:
    """Learns from a call."""
    self.per_unit = seconds / units


class Session:
  """Trains an arm from wherever it was, a few seconds' work at a time.

  An epoch is so many updates, the last of which stands apart, and then the
  batches of the evaluation. Between any two calls of a program the state can be
  saved; results do not depend on where.

  Without a place to save to, nothing is saved.

  Attributes:
    steps: updates of an epoch.
    done: updates so far.
    history: the metrics of the epochs so far.
    compile_seconds: what the compilation took.
  """

  def __init__(
    self,
    trainer: engine.Trainer,
    trials: Trials,
    pixels: engine.Pixels,
    saved: checkpoints.Checkpoints | None = None,
  ) -> None:
    self._trainer = trainer
    self._count = len(trials.seed)
    self._trials = mapping.shard(trials, self._count)
    self._pixels = pixels
    self._saved = saved
    self.steps = trainer.feed.steps(trials)
    self.done = 0
    self.history = History(self._count, trainer.metrics)
    self.compile_seconds = 0.0
    self._paces = {name: Pace() for name in ('update', 'evaluate')}
    self._restored: dict[str, Any] | None = None
    self._last_save = 0
    if saved and (found := saved.restore()):
      self._last_save, self._restored, self.history = found
      self.done = self.history.updates

  def finished(self, epochs: int) -> bool:
    """Whether so many epochs are trained and evaluated."""
    return self.history.epochs >= epochs

  @property
  def seconds_per_update(self) -> float | None:
    """What an update of all trials took last; None before the first."""
    return self._paces['update'].per_unit

  def compile(self, options: dict[str, Any] | None = None) -> None:
    """Makes the state, or reads it, and compiles what trains and evaluates."""
    trainer, trials, pixels = self._trainer, self._trials, self._pixels
    jit = self._jit = functools.partial(jax.jit, compiler_options=options)
    compiled = lambda function, *args, donated=(): (
      jit(function, donate_argnums=donated).lower(*args).compile()
    )
    if self._restored is None:
      self._state = jit(trainer.init)(trials)
    else:
      abstract = jax.eval_shape(trainer.init, trials)
      found = checkpoints.as_tree(self._restored, abstract)
      self._state = mapping.shard(found, self._count)
      self._restored = None
    start = time.perf_counter()
    state, n = self._state, jnp.int32(1)
    self._update = compiled(trainer.update, state, trials, pixels, n, donated=0)
    self._close = compiled(trainer.close, state, trials, pixels, donated=0)
    self._zeros = mapping.shard(trainer.no_sums(trials), self._count)
    self._evaluated_at: Callable[..., Any] = trainer.evaluated_at
    if trainer.batches(pixels):
      if trainer.eval_params:
        self._evaluated_at = compiled(
          trainer.evaluated_at, state, trials, pixels
        )
      self._evaluate = compiled(
        trainer.evaluate, self._zeros, state, pixels, n, n
      )
    self.compile_seconds = time.perf_counter() - start

  def save(self) -> None:
    """Saves all that matters, if anything changed since it was saved."""
    # Every update and every evaluation counts: no two states share a number.
    number = self.done + self.history.epochs
    if self._saved and number and number != self._last_save:
      self.history.updates = self.done
      self._saved.save(number, self._state, self.history)
      self._last_save = number

  def seconds_left(self, epochs: int) -> float | None:
    """How long it may take until so many epochs are trained; None at first."""
    update, evaluate = (each.per_unit for each in self._paces.values())
    if update is None:
      return None
    batches = self._trainer.batches(self._pixels)
    return update * (epochs * self.steps - self.done) + (
      (evaluate or 0.0) * batches * (epochs - self.history.epochs)
    )

  def train_epoch(self, pause: Callable[[], None]) -> None:
    """Trains what is left of an epoch, evaluates, and adds to the metrics.

    Between programs, every few seconds, `pause` may save and raise.
    """
    while self.done // self.steps == self.history.epochs:
      self.advance()
      pause()
    start = time.perf_counter()
    test: dict[str, Any] = {}
    if self._trainer.batches(self._pixels):
      found = self._evaluated(self._evaluate, self._pixels, pause)
      test = {'test_loss': found.loss, 'test_accuracy': found.accuracy}
      test['test_seconds'] = time.perf_counter() - start
    learned = self._trainer.measured(self._state, self._trials)
    seconds = self.history.seconds
    self.history.append(**learned, **test, train_seconds=seconds)
    self.history.seconds = 0.0

  def advance(self) -> None:
    """Calls a program: some updates, or the last one of an epoch alone."""
    left = self.steps - 1 - self.done % self.steps
    if left:
      self._make_updates(left)
    else:
      self._close_epoch()

  def evaluate_on(self, pixels: engine.Pixels) -> learning.Metrics:
    """Evaluates on other test images what is trained so far."""
    evaluate = self._jit(self._trainer.evaluate)
    return self._evaluated(evaluate, pixels, lambda: None)

  def _make_updates(self, left: int) -> None:
    n = distributed.largest(self._paces['update'].units(left))
    start = time.perf_counter()
    self._state = jax.block_until_ready(
      self._update(self._state, self._trials, self._pixels, jnp.int32(n))
    )
    seconds = time.perf_counter() - start
    self._paces['update'].took(n, seconds)
    self._advanced(n, seconds)

  def _close_epoch(self) -> None:
    start = time.perf_counter()
    # What is measured at the end of a task takes a decomposition.
    with lapack.one_thread():
      self._state, diagnostics = jax.block_until_ready(
        self._close(self._state, self._trials, self._pixels)
      )
    seconds = time.perf_counter() - start
    if self.steps == 1:  # No update is made by itself.
      self._paces['update'].took(1, seconds)
    self._advanced(1, seconds)
    if diagnostics is not None:
      self.history.diagnostics.append(distributed.fetch(diagnostics))

  def _advanced(self, n: int, seconds: float) -> None:
    self.done += n
    self.history.seconds += seconds

  def _evaluated(
    self,
    evaluate: Callable[..., Any],
    pixels: engine.Pixels,
    pause: Callable[[], None],
  ) -> learning.Metrics:
    sums, first = self._zeros, 0
    state = self._evaluated_at(self._state, self._trials, self._pixels)
    batches = self._trainer.batches(pixels)
    while first < batches:
      n = distributed.largest(self._paces['evaluate'].units(batches - first))
      start = time.perf_counter()
      sums = jax.block_until_ready(
        evaluate(sums, state, pixels, jnp.int32(first), jnp.int32(n))
      )
      self._paces['evaluate'].took(n, time.perf_counter() - start)
      first += n
      if first < batches:
        pause()
    return learning.means(sums, len(pixels.test_labels))
