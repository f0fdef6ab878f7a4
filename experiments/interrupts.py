"""Ctrl-C, SIGTERM and SIGHUP.

While it makes updates, a run remembers the first of them, saves and ends.
Everywhere else, such as in imports and compilations, they end the process at
once: what is on the disk is whole at every moment, so nothing is lost. No
handler raises an exception, which other code might swallow.

A signal that is ignored when the program starts (`nohup`, background jobs of a
shell) stays ignored.
"""

from collections.abc import Iterator
import contextlib
import signal
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
  """A signal asked the process to end, and what it had is saved.

  Attributes:
    number: the signal.
  """

  def __init__(self, number: int, where: str) -> None:
    super().__init__(where)
    self.number = number


def end_at_once() -> None:
  """Lets the signals end the process without Python's KeyboardInterrupt."""
  _handle(signal.SIG_DFL)


class Stop:
  """Remembers the first signal while it is entered; a second one is not kept.

  Attributes:
    number: the signal that came; 0 for none.
  """

  def __init__(self) -> None:
    self.number = 0

  def __enter__(self) -> 'Stop':
    self._before = _handle(self._remember)
    return self

  def __exit__(self, error: Any, *_: Any) -> None:
    self._restore()
    if self.number and error is None:  # It came after the last look at it.
      signal.raise_signal(self.number)

  def _remember(self, number: int, _: Any) -> None:
    self.number = number
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
  """Starts processes that the signals do not reach.

  A terminal sends Ctrl-C to all processes, of which the first alone is to act.
  """
  # Processes inherit the mask. Other threads of this one still get signals.
  before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(handler: Any) -> dict[signal.Signals, Any]:
  """Installs a handler where signals are not ignored; returns those before."""
  return {
    number: signal.signal(number, handler)
    for number in SIGNALS
    if signal.getsignal(number) is not signal.SIG_IGN
  }
