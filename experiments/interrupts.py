"""Ctrl-C and SIGTERM, from a program's first moment to its last.

A program spends its first seconds importing, its last ones on what was to be
done at exit. What comes then ends it at once; what comes between is raised, so
that what is half done is cleaned up. A run that trains saves first: see
`training.stopping`. While Python finalizes, signals are ignored.
"""

import atexit
from collections.abc import Iterator
import contextlib
import os
import signal
import sys
import time
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOMENT = 0.01  # Seconds.
_CLEANING = 2.0  # Seconds; about a second is enough for `--jobs`.
_forgotten: list[int] = []
_raised: list[int] = []
_on_its_way: list[float] = []  # Since when.
_said: list[int] = []


class Interrupt(KeyboardInterrupt):
  """The process was asked to end.

  Not all code lets it through. What the garbage collector or a finalizer calls
  has its errors reported and forgotten; C++ that asks whether an object has an
  attribute takes any error for a no. One that is forgotten is raised again, a
  moment later.

  Attributes:
    number: the signal that asked.
  """

  def __init__(self, number: int, handler: Any = None) -> None:
    """Makes one.

    Args:
      number: the signal that asked.
      handler: what handles the signal. When it no longer does, nobody who lets
        go of this has forgotten it.
    """
    super().__init__(number)
    self.number = number
    self._handler = handler

  def __del__(self) -> None:
    _on_its_way.clear()
    if self._handler and signal.getsignal(self.number) == self._handler:
      _forgotten.append(self.number)
      # A timer of the system's: a thread has locks, which a signal could find
      # held.
      signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def begin() -> None:
  """Has the signals end the process, from its first moment on.

  Called before anything else is imported, so that what it has done at exit is
  done last.
  """
  atexit.register(_ignore)
  end_at_once()


def end_at_once() -> None:
  """Has the signals end the process with one sentence, if none was said."""
  _handle(_end)
  # A timer that is set would end the process when Python finalizes.
  signal.setitimer(signal.ITIMER_REAL, 0)


def raise_them() -> None:
  """Has the signals raise an `Interrupt`, until they `end_at_once`."""
  _handle(interrupt)


def interrupt(number: int, _: Any) -> None:
  """Raises an `Interrupt`; the handler of a signal.

  While one is on its way, others are dropped, for two seconds: they would cut
  short what cleans up, or show where Python reports that it forgets the first.

  Args:
    number: the signal that came.

  Raises:
    Interrupt: unless one is on its way.
  """
  now = time.monotonic()
  if _on_its_way and now - _on_its_way[-1] < _CLEANING:
    return
  _raised.append(number)
  _on_its_way.append(now)
  raise Interrupt(number, signal.getsignal(number))


@contextlib.contextmanager
def handled_by(handler: Any) -> Iterator[None]:
  """Around what another handler is for.

  Args:
    handler: of the signals, but for those that are ignored.

  Yields:
    Nothing.
  """
  before = {
    number: signal.signal(number, handler)
    for number in SIGNALS
    if not _is_ignored(number)
  }
  try:
    yield
  finally:
    for number, each in before.items():
      signal.signal(number, each)


@contextlib.contextmanager
def recognized() -> Iterator[None]:
  """Around work that a signal may end, whatever becomes of the `Interrupt`.

  C++ that calls Python may make an error of its own of it, which would be taken
  for a fault of a file, or of the program.

  Yields:
    Nothing.

  Raises:
    Interrupt: one was raised, and an error came out of the work.
  """
  _raised.clear()
  try:
    yield
  except Exception as e:
    if not _raised:
      raise
    raise Interrupt(_raised[-1]) from e


@contextlib.contextmanager
def withheld() -> Iterator[None]:
  """Around the start of processes, which never see the signals.

  A terminal sends Ctrl-C to all of them. Whoever started them is told, once
  they have started, and ends them.

  Yields:
    Nothing.
  """
  came: list[int] = []
  # The mask is for what is started. It does not keep a signal from this
  # process, which has other threads.
  with handled_by(lambda number, _: came.append(number)):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
      yield
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)
  if came:
    signal.raise_signal(came[-1])


def say(number: int, text: str) -> int:
  """Says what happened on a line of its own, if nothing was said.

  Args:
    number: the signal that came.
    text: what is said.

  Returns:
    What to exit with.
  """
  # After the ^C that a terminal shows.
  newline = '\n' if number == signal.SIGINT else ''
  with handled_by(lambda *_: None), _unheard():
    if not _said:
      _said.append(number)
      sys.stderr.write(f'{newline}{text}\n')
      sys.stderr.flush()
  return 128 + number


def end(number: int, text: str) -> NoReturn:
  """Says what happened, and ends the process without finalizing Python.

  JAX crashes when Python finalizes while it compiles.
  """
  code = say(number, text)
  with _unheard():
    sys.stdout.flush()
  os._exit(code)


def _unheard() -> contextlib.AbstractContextManager[None]:
  """Lets it pass that a stream is full, gone, closed or None."""
  return contextlib.suppress(OSError, ValueError, AttributeError)


def _is_ignored(number: int) -> bool:
  """Whether a signal is; a shell has its background jobs ignore Ctrl-C."""
  return signal.getsignal(number) is signal.SIG_IGN


def _handle(handler: Any) -> None:
  sys.unraisablehook = _unraisable
  signal.signal(signal.SIGALRM, _send_again)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
  for number in SIGNALS:
    if not _is_ignored(number):
      signal.signal(number, handler)


def _ignore() -> None:
  for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)


def _end(number: int, _: Any) -> None:
  # An exception would be swallowed or shown by whatever is being imported.
  os._exit(say(number, 'interrupted.'))


def _unraisable(report: Any) -> None:
  # An `Interrupt` is raised again.
  if not isinstance(report.exc_value, Interrupt):
    sys.__unraisablehook__(report)


def _send_again(*_: Any) -> None:
  while _forgotten:
    signal.raise_signal(_forgotten.pop())
