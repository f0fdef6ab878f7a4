"""Shows a person how far a study is."""

import datetime

from rich.console import Console

from experiments.studies import running
from experiments.studies.plan import Item
from experiments.studies.running import Progress


class Reporter(running.Observer):
  """A line for each cell: how far the study is, and how long it takes."""

  def __init__(self, console: Console) -> None:
    self._console = console

  def started(self, progress: Progress) -> None:
    """See the base class."""
    left = progress.cells - progress.finished
    text = f'{progress.cells} cells, {progress.finished} of them finished'
    if left:
      text += f'; what is missing should take {_time(progress.seconds_left)}'
    self.say(text)

  def computed(self, item: Item, progress: Progress) -> None:
    """See the base class."""
    left = ''
    if progress.finished < progress.cells:
      left = f', {_time(progress.seconds_left)} left'
    self.say(f'{progress.finished}/{progress.cells} {item.label}{left}')

  def failed(self, item: Item, error: BaseException) -> None:
    """See the base class."""
    lines = str(error).strip().splitlines() or ['']
    self.say(f'failed: {item.label} ({type(error).__name__}: {lines[0]})')

  def waiting(self, count: int) -> None:
    """See the base class."""
    cells = 'a cell' if count == 1 else f'{count} cells'
    self.say(f'waits for {cells} that other processes compute')

  def ended(self, progress: Progress) -> None:
    """Says what is missing, where cells of other processes failed."""
    if missing := progress.cells - progress.finished:
      self.say(f'{missing} of {progress.cells} cells are missing')

  def say(self, text: str) -> None:
    """Prints a line."""
    self._console.print(text, soft_wrap=True)


def _time(seconds: float) -> str:
  """A duration, as h:mm:ss."""
  return f'about {datetime.timedelta(seconds=max(1, round(seconds)))}'
