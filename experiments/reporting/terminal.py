"""What a run shows a person: progress while it works, then a table."""

from collections.abc import Iterator, Mapping
import contextlib
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.table import Table

from experiments.training.records import History

# Where there is no bar, how often a line says how far a long epoch is.
_LINE_SECONDS = 10.0


class ArmProgress:
  """Shows how far an arm is: a bar on a terminal, lines elsewhere."""

  def __init__(
    self,
    console: Console,
    arm: str,
    epochs: int,
    bar: Progress,
    task: TaskID,
    unit: str = 'epoch',
  ) -> None:
    self._console, self._arm, self._epochs = console, arm, epochs
    self._unit = unit
    self._bar, self._task = bar, task
    self._last_line = time.monotonic()

  def advanced(self, done: int, steps: int, seconds_left: float | None) -> None:
    """Shows where in an epoch the arm is.

    Args:
      done: updates so far.
      steps: updates of an epoch.
      seconds_left: how long the rest of all epochs may take, if it is known.
    """
    self._bar.update(self._task, completed=done / steps)
    now = time.monotonic()
    if self._console.is_terminal or now - self._last_line < _LINE_SECONDS:
      return
    self._last_line = now
    left = '' if seconds_left is None else f', {duration(seconds_left)} left'
    epoch, update = divmod(done, steps)
    unit = self._unit
    where = f'{unit} {epoch + 1}/{self._epochs}, update {update}/{steps}'
    if not update:
      where = f'{unit} {epoch}/{self._epochs}, evaluating'
    self._line(where + left)

  def epoch(self, history: History) -> None:
    """Shows what the last epoch gave."""
    text = _epoch_text(history)
    self._bar.update(self._task, completed=history.epochs, text=text)
    if not self._console.is_terminal:
      self._last_line = time.monotonic()
      self._line(f'{self._unit} {history.epochs}/{self._epochs}, {text}')

  def _line(self, text: str) -> None:
    self._console.print(f'{self._arm}: {text}', soft_wrap=True)


@contextlib.contextmanager
def progress(
  console: Console, arm: str, done: float, epochs: int, unit: str = 'epoch'
) -> Iterator[ArmProgress]:
  """Shows an arm's progress on a console.

  Args:
    console: where.
    arm: the arm's name.
    done: epochs done before, maybe in part.
    epochs: epochs in all.
    unit: what they are called.

  Yields:
    What to call as training goes on.
  """
  columns = (
    TextColumn('{task.description}'),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn(f'{unit}s, {{task.fields[text]}}'),
    TimeRemainingColumn(),
  )
  with Progress(
    *columns, console=console, disable=not console.is_terminal
  ) as bar:
    task = bar.add_task(arm, total=epochs, text='…')
    bar.update(task, completed=done)
    yield ArmProgress(console, arm, epochs, bar, task, unit)


def duration(seconds: float) -> str:
  """A time in words, to two digits or so: 12 s, 3.4 min, 1.5 h."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  if seconds < 6000:
    return f'{seconds / 60:.1f} min'
  return f'{seconds / 3600:.1f} h'


def _epoch_text(history: History) -> str:
  diverged = history.diverged()
  seconds = f'{history["train_seconds"][0, -1]:.2f} s'
  if diverged.all():
    return f'all diverged, {seconds}'
  online = 'online_loss' in history.names
  loss, accuracy = (
    history[name][~diverged, -1]
    for name in (
      ('online_loss', 'online_accuracy')
      if online
      else ('train_loss', 'test_accuracy')
    )
  )
  train, test = ('online', 'online') if online else ('train', 'test')
  text = (
    f'{train} loss {np.mean(loss):.4f}, '
    f'{test} accuracy {percent(np.mean(accuracy), _sd(accuracy))}, {seconds}'
  )
  return text + (f', {diverged.sum()} diverged' if diverged.any() else '')


def _sd(values: np.ndarray) -> float | None:
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def percent(mean: float | None, sd: float | None) -> str:
  """A fraction in percent, with its spread where there is one."""
  if mean is None:
    return '–'
  text = f'{100 * mean:.2f}'
  return text + (f' ± {100 * sd:.2f} %' if sd is not None else ' %')


def results_table(
  results: Mapping[str, Any], compile_seconds: Mapping[str, float], title: str
) -> Table:
  """The table that a run ends with.

  Args:
    results: what `results.json` says, by arm.
    compile_seconds: by arm, of those that this process compiled.
    title: what stands above.

  Returns:
    A table to print.
  """
  table = Table(
    title=title,
    caption=(
      'accuracy at the last epoch, mean ± sd over seeds; epoch: median wall '
      'time of a training epoch of all seeds, without compilation'
    ),
  )
  # Where there is little room, the status is what takes more lines.
  # Of a grid, it names the numbers too, and may take several lines.
  grid = any(',' in arm for arm in results)
  table.add_column('arm', no_wrap=not grid, overflow='fold')
  for heading in ('lr', 'seeds', 'test accuracy', 'epoch', 'compile'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('status')
  for arm, result in results.items():
    seconds = result['epoch_train_seconds']
    table.add_row(
      arm,
      f'{result["learning_rate"]:g}',
      str(len(result['seeds'])),
      percent(result['mean'], result['sd']),
      '–' if seconds is None else f'{seconds:.3f} s',
      f'{compile_seconds[arm]:.1f} s' if arm in compile_seconds else '–',
      status(result),
    )
  return table


def status(result: Mapping[str, Any]) -> str:
  """How an arm ended, with the seeds that diverged."""
  if not result['diverged_seeds']:
    return result['status']
  seeds = ', '.join(map(str, result['diverged_seeds']))
  return f'{result["status"]} (seeds {seeds})'
