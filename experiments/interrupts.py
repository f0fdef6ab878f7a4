"""Ctrl-C and SIGTERM, from a program's first moment to its last.

A program spends its first seconds importing, its last ones letting go. What
comes then ends it at once; what comes between is raised, so that what is half
done is cleaned up. A run that trains saves first: see `training.stopping`.
"""

from collections.abc import Iterator
import contextlib
import os
import signal
import sys
import types
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOMENT = 0.01  # Seconds.
_raised: list[int] = []
_said: list[int] = []


class Interrupt(KeyboardInterrupt):
  """The process was asked to end.

  Attributes:
    number: the signal that asked.
  """

  def __init__(self, number: int) -> None:
    super().__init__(number)
    self.number = number


def end_at_once() -> None:
  """Has the signals end the process with one sentence, if none was said."""
  _handle(_end)
  # It would end a process that is letting go, as Python no longer handles it.
  signal.setitimer(signal.ITIMER_REAL, 0)


def raise_them() -> None:
  """Has the signals raise an `Interrupt`.

  What is raised while the garbage collector calls JAX, or a weak reference or a
  finalizer calls anybody, Python reports and forgets: there it is raised again
  a moment later.
  """
  _handle(interrupt)


def interrupt(number: int, frame: types.FrameType | None) -> None:
  """Raises an `Interrupt`; the handler of a signal.

  While Python reports what it forgets, it would forget this one too: then it is
  raised a moment later.

  Args:
    number: the signal that came.
    frame: what it came upon.

  Raises:
    Interrupt: always, but for the case above.
  """
  _raised.append(number)
  if _is_reporting(frame):
    _send_again(number)
  else:
    raise Interrupt(number)


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


def say(number: int, text: str) -> int:
  """Says what happened on a line of its own; gives what to exit with."""
  _said.append(number)
  # After the ^C that a terminal shows.
  newline = '\n' if number == signal.SIGINT else ''
  print(f'{newline}{text}', file=sys.stderr, flush=True)
  return 128 + number


def end(number: int, text: str) -> NoReturn:
  """Says what happened, and ends the process at once.

  JAX, if it were compiling, would crash as Python lets go of it.
  """
  code = say(number, text)
  with contextlib.suppress(OSError):  # Nobody reads it any more.
    sys.stdout.flush()
  os._exit(code)


def _handle(handler: Any) -> None:
  sys.unraisablehook = _unraisable
  for number in SIGNALS:
    # A shell has what it runs in the background ignore Ctrl-C.
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, handler)


def _end(number: int, _: Any) -> None:
  # An exception would be swallowed or shown by whatever is being imported.
  os._exit(128 + number if _said else say(number, 'interrupted.'))


def _unraisable(report: Any) -> None:
  if not isinstance(report.exc_value, Interrupt):
    sys.__unraisablehook__(report)
    return
  _send_again(report.exc_value.number)


def _send_again(number: int) -> None:
  # A timer of the system's: a thread has locks, which a signal could find held.
  signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
  signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
  signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def _is_reporting(frame: types.FrameType | None) -> bool:
  while frame and frame.f_code is not _unraisable.__code__:
    frame = frame.f_back
  return frame is not None
