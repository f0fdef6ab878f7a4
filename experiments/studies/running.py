"""Computes the cells of a study that are missing, some at once."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import datetime
import time
from typing import Any

from experiments import errors
from experiments import files
from experiments import interrupts
from experiments.studies import workers
from experiments.studies.plan import Item
from experiments.studies.plan import Plan
from experiments.studies.plan import Share
from experiments.studies.speeds import Estimate

# How long a process sleeps that waits for cells of another, and how often the
# tables are written, in seconds.
_PATIENCE, _TABLES_EVERY = 2.0, 60.0


class Runner:
  """Computes a process's share of a plan, and says how far it is.

  It writes the tables now and then, and at the end, however that comes.
  """

  def __init__(
    self,
    plan: Plan,
    share: Share,
    estimate: Estimate,
    say: Callable[[str], None],
    *,
    write_tables: Callable[[], None] = lambda: None,
    data_dir: str | None = None,
  ) -> None:
    self._plan, self._share = plan, share
    self._estimate, self._say = estimate, say
    self._write_tables, self._written = write_tables, time.monotonic()
    self._data_dir = data_dir
    self._failed: set[str] = set()
    # The cells under way, with the claims on them.
    self._running: dict[
      futures.Future[Any], tuple[Item, contextlib.ExitStack]
    ] = {}

  def begin(self) -> None:
    """Says how many cells there are, and how long the missing ones take."""
    wanted, missing = self._wanted()
    for item in missing:
      self._estimate.measure(item.task)
    text = f'{len(wanted)} cells, {len(wanted) - len(missing)} of them finished'
    if missing:
      text += f'; what is missing should take {self._time(missing)}'
    self._say(text)

  def run(self, jobs: int) -> None:
    """Computes all that is missing, so many cells at once in processes.

    Raises:
      UserError: some cells could not be computed; all others are there.
      StoppedError: a signal asked the process to end.
    """
    stop = interrupts.Stop()
    # With one job, the cell under way looks for signals.
    stopping = stop if jobs > 1 else contextlib.nullcontext()
    try:
      with workers.pool(jobs) as pool, stopping:
        self._compute(pool, jobs, stop)
    finally:
      for _, claim in self._running.values():
        claim.close()
      self._write_tables()
    if count := len(self._failed):
      raise errors.UserError(
        f'{_cells(count)} could not be computed, and what depends on '
        'it is missing; the same command tries again.'
      )
    wanted, missing = self._wanted()
    if missing:  # Other processes compute them.
      self._say(f'{len(missing)} of {len(wanted)} cells are missing')

  def _compute(
    self, pool: futures.Executor, jobs: int, stop: interrupts.Stop
  ) -> None:
    """Until nothing is missing that can be computed."""
    waited = 0
    while True:
      elsewhere = self._start(pool, jobs)
      if not self._running and not elsewhere:
        return
      if not self._running and elsewhere != waited:
        self._say(f'waits for {_cells(elsewhere)} of other processes')
        waited = elsewhere
      if not self._running:
        time.sleep(_PATIENCE)
      done, _ = futures.wait(
        self._running, _PATIENCE, return_when=futures.FIRST_COMPLETED
      )
      for future in done:
        self._finish(future, *self._running[future])
        del self._running[future]
      if stop.number:
        raise self._stopped(stop.number)
      if time.monotonic() - self._written > _TABLES_EVERY:
        self._write_tables()
        self._written = time.monotonic()

  def _stopped(self, number: int) -> interrupts.StoppedError:
    wanted, missing = self._wanted()
    return interrupts.StoppedError(
      number,
      f'{len(wanted) - len(missing)} of {len(wanted)} cells are finished',
    )

  def _wanted(self) -> tuple[list[Item], list[Item]]:
    """The cells of the share, and those of them that are missing."""
    wanted = [x for x in self._plan.items() if self._share.wants(x)]
    # Its own before those of others, which it computes if they do not.
    wanted.sort(key=lambda x: not self._share.owns(x))
    return wanted, [x for x in wanted if self._plan.outcome(x.cell) is None]

  def _start(self, pool: futures.Executor, jobs: int) -> int:
    """Starts as many cells as may run; says how many others compute."""
    if len(self._running) >= jobs:
      return 0
    busy = {x.cell.digest for x, _ in self._running.values() if x.cell}
    elsewhere = 0
    _, missing = self._wanted()
    for item in missing:
      cell = item.cell
      if len(self._running) >= jobs:
        break
      if cell is None or cell.digest in self._failed | busy:
        continue
      claim = contextlib.ExitStack()
      if not claim.enter_context(self._plan.store.claimed(cell)):
        elsewhere += 1
        claim.close()
      elif self._plan.outcome(cell):  # Another process has just finished it.
        claim.close()
      else:
        busy.add(cell.digest)
        future = pool.submit(workers.compute, cell, self._data_dir)
        self._running[future] = item, claim
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
      self._failed.add(item.cell.digest)
      self._say(f'failed: {item.label} ({files.reason(error)})')
      return
    outcome = future.result()
    self._plan.store.put(item.cell, outcome)
    claim.close()
    self._estimate.took(item, outcome.seconds)
    wanted, missing = self._wanted()
    left = f', {self._time(missing)} left' if missing else ''
    finished = len(wanted) - len(missing)
    self._say(f'{finished}/{len(wanted)} {item.label}{left}')

  def _time(self, missing: list[Item]) -> str:
    """How long cells take, as h:mm:ss."""
    seconds = max(1, round(self._estimate.seconds(missing)))
    return f'about {datetime.timedelta(seconds=seconds)}'


def _cells(count: int) -> str:
  return '1 cell' if count == 1 else f'{count} cells'
