"""How a run ends early: asked by a signal, with everything saved."""

import signal
from typing import Any


class StoppedError(Exception):
  """The process was asked to end, and has saved what it had."""


class Terminator:
  """Remembers a SIGTERM until the epoch under way is saved."""

  def __init__(self) -> None:
    self.requested = False

  def __enter__(self) -> 'Terminator':
    self._before = signal.signal(signal.SIGTERM, self._handle)
    return self

  def __exit__(self, *_: Any) -> None:
    signal.signal(signal.SIGTERM, self._before)

  def _handle(self, *_: Any) -> None:
    self.requested = True
