"""How a run ends early: asked by a signal, with everything saved."""

import signal
from typing import Any

from experiments import interrupts


class StoppedError(Exception):
  """The process was asked to end, and has saved what it had.

  Attributes:
    number: the signal that asked.
  """

  def __init__(self, number: int, where: str) -> None:
    super().__init__(where)
    self.number = number


class Terminator:
  """Remembers a SIGTERM or a Ctrl-C until the work under way is saved.

  A second Ctrl-C is not waited for: it raises an `Interrupt`.

  Attributes:
    requested: the signal that came; 0 for none.
  """

  def __init__(self) -> None:
    self.requested = 0

  def __enter__(self) -> 'Terminator':
    self._handling = interrupts.handled_by(self._handle)
    self._handling.__enter__()
    return self

  def __exit__(self, *_: Any) -> None:
    self._handling.__exit__(None, None, None)

  def _handle(self, number: int, frame: Any) -> None:
    if number == signal.SIGINT and self.requested == signal.SIGINT:
      interrupts.interrupt(number, frame)
    self.requested = number
