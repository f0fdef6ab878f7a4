"""Computes the cells of a study that are missing, some at once."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import dataclasses
import time
from typing import Any, TypeAlias

from experiments import errors
from experiments import interrupts
from experiments.studies import workers
from experiments.studies.cells import Cell
from experiments.studies.plan import Item
from experiments.studies.plan import Plan
from experiments.studies.plan import Share
from experiments.studies.speeds import Estimate

# How long a process sleeps that waits for cells of another, and how often the
# tables are written, in seconds.
_PATIENCE, _TABLES_EVERY = 2.0, 60.0
# The cells under way, with the claims on them.
Running: TypeAlias = dict[
  futures.Future[Any], tuple[Item, contextlib.ExitStack]
]


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far a process's share of a study is.

  Attributes:
    cells: how many there are, as far as is known.
    finished: how many of them are there.
    seconds_left: what the others should take.
  """

  cells: int
  finished: int
  seconds_left: float


class Observer:
  """What is called as cells are computed; this one shows nothing."""

  def started(self, progress: Progress) -> None:
    """Nothing is computed yet."""

  def computed(self, item: Item, progress: Progress) -> None:
    """A cell is computed and stored."""

  def failed(self, item: Item, error: BaseException) -> None:
    """A cell could not be computed; the others go on."""

  def waiting(self, count: int) -> None:
    """So many cells are being computed by other processes."""


class Runner:
  """Computes a process's share of a plan.

  Args:
    plan: the plan.
    share: which of its cells are this process's.
    estimate: how long cells take.
    observer: what is called as it goes.
    write_tables: called now and then, and at the end, however it comes.
    data_dir: where TFDS data sets lie.
  """

  def __init__(
    self,
    plan: Plan,
    share: Share,
    estimate: Estimate,
    observer: Observer,
    *,
    write_tables: Callable[[], None] = lambda: None,
    data_dir: str | None = None,
  ) -> None:
    self._plan, self._share = plan, share
    self._estimate, self._observer = estimate, observer
    self._write_tables, self._written = write_tables, time.monotonic()
    self._data_dir = data_dir
    self.failed: set[str] = set()

  def missing(self) -> list[Item]:
    """The cells that this process wants and that are not there."""
    return [x for x in self._wanted() if not self._there(x.cell)]

  def progress(self) -> Progress:
    """How far the share is."""
    wanted = self._wanted()
    missing = [x for x in wanted if not self._there(x.cell)]
    return Progress(
      len(wanted),
      len(wanted) - len(missing),
      self._estimate.seconds(missing),
    )

  def run(self, jobs: int) -> None:
    """Computes all that is missing.

    Args:
      jobs: how many cells at once, each in a process of its own.

    Raises:
      UserError: some cells could not be computed; all others are there.
      StoppedError: a signal asked the process to end.
    """
    stop = interrupts.Stop()
    try:
      with workers.pool(jobs) as pool, contextlib.ExitStack() as claims:
        if jobs > 1:  # With one, the cell under way looks for signals.
          claims.enter_context(stop)
        self._compute(pool, jobs, claims, stop)
    finally:
      self._write_tables()
    if self.failed:
      cells = '1 cell' if len(self.failed) == 1 else f'{len(self.failed)} cells'
      raise errors.UserError(
        f'{cells} could not be computed, and what depends on '
        'it is missing; the same command tries again.'
      )

  def _compute(
    self,
    pool: futures.Executor,
    jobs: int,
    claims: contextlib.ExitStack,
    stop: interrupts.Stop,
  ) -> None:
    """Until nothing is missing that can be computed."""
    running: Running = {}
    waited = 0
    while True:
      elsewhere = self._start(pool, jobs, running, claims)
      if not running and not elsewhere:
        return
      if not running and elsewhere != waited:
        self._observer.waiting(elsewhere)
        waited = elsewhere
      if not running:
        time.sleep(_PATIENCE)
      done, _ = futures.wait(
        running, _PATIENCE, return_when=futures.FIRST_COMPLETED
      )
      for future in done:
        self._finish(future, *running.pop(future))
      if stop.number:
        raise self._stopped(stop.number)
      if time.monotonic() - self._written > _TABLES_EVERY:
        self._write_tables()
        self._written = time.monotonic()

  def _stopped(self, number: int) -> interrupts.StoppedError:
    found = self.progress()
    return interrupts.StoppedError(
      number, f'{found.finished} of {found.cells} cells are finished'
    )

  def _wanted(self) -> list[Item]:
    wanted = [x for x in self._plan.items() if self._share.wants(x)]
    # Its own before those of others, which it computes if they do not.
    return sorted(wanted, key=lambda x: not self._share.owns(x))

  def _there(self, cell: Cell | None) -> bool:
    return self._plan.outcome(cell) is not None

  def _start(
    self,
    pool: futures.Executor,
    jobs: int,
    running: Running,
    claims: contextlib.ExitStack,
  ) -> int:
    """Starts as many cells as may run; says how many others compute."""
    if len(running) >= jobs:
      return 0
    busy = {item.cell.digest for item, _ in running.values() if item.cell}
    elsewhere = 0
    for item in self.missing():
      cell = item.cell
      if len(running) >= jobs:
        break
      if cell is None or cell.digest in self.failed | busy:
        continue
      claim = claims.enter_context(contextlib.ExitStack())
      if not claim.enter_context(self._plan.store.claimed(cell)):
        elsewhere += 1
        claim.close()
      elif self._there(cell):  # Another process has just finished it.
        claim.close()
      else:
        busy.add(cell.digest)
        future = pool.submit(workers.compute, cell, self._data_dir)
        running[future] = item, claim
    return elsewhere

  def _finish(
    self,
    future: futures.Future[Any],
    item: Item,
    claim: contextlib.ExitStack,
  ) -> None:
    """Stores what a process computed."""
    assert item.cell is not None
    error = future.exception()
    if isinstance(error, interrupts.StoppedError):
      raise self._stopped(error.number)
    if isinstance(error, futures.BrokenExecutor):
      raise errors.UserError(
        'a process of --jobs was killed, perhaps for want of memory; the same '
        'command resumes the study, with fewer --jobs if need be.'
      ) from error
    if error is not None:
      claim.close()
      self.failed.add(item.cell.digest)
      self._observer.failed(item, error)
      return
    outcome = future.result()
    self._plan.store.put(item.cell, outcome)
    claim.close()
    self._estimate.took(item, outcome.seconds)
    self._observer.computed(item, self.progress())
