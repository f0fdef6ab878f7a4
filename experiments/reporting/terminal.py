"""What a run shows on a terminal: progress while it works, then a table."""

from collections.abc import Iterator, Mapping
import contextlib
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.table import Table

from experiments.reporting import numbers
from experiments.training.records import History

# Where there is no bar, how often a line says how far a long epoch is.
_LINE_SECONDS = 10.0
# The columns of the table of a stream, and which measures they are.
_ONLINE = {
  'all tasks': 'online_accuracy',
  'first tenth': 'online_accuracy_first_tenth',
  'last tenth': 'online_accuracy_last_tenth',
}
_OF_SPLITS = {
  'average': 'average_accuracy',
  'forgetting': 'forgetting',
  'WC-ACC': 'worst_case_accuracy',
}


class ArmProgress:
  """Shows how far an arm is: a bar on a terminal, lines elsewhere."""

  def __init__(
    self, console: Console, arm: str, epochs: int, bar: Progress, unit: str
  ) -> None:
    self._console, self._arm, self._bar = console, arm, bar
    self._epochs, self._unit = epochs, unit
    self._task = bar.add_task(arm, total=epochs, text='…')
    self._last_line = time.monotonic()

  def advanced(self, done: int, steps: int, seconds_left: float | None) -> None:
    """Shows where in an epoch the arm is.

    Args:
      done: updates so far.
      steps: updates of an epoch.
      seconds_left: how long the rest of all epochs may take, if it is known.
    """
    self._bar.update(self._task, completed=done / steps)
    if time.monotonic() - self._last_line < _LINE_SECONDS:
      return
    left = '' if seconds_left is None else f', {duration(seconds_left)} left'
    epoch, update = divmod(done, steps)
    if update:
      self._line(epoch + 1, f'update {update}/{steps}{left}')
    else:
      self._line(epoch, f'evaluating{left}')

  def epoch(self, history: History) -> None:
    """Shows what the last epoch gave."""
    text = _epoch_text(history)
    self._bar.update(self._task, completed=history.epochs, text=text)
    self._line(history.epochs, text)

  def _line(self, epoch: int, text: str) -> None:
    """Says it where there is no bar."""
    if not self._console.is_terminal:
      self._last_line = time.monotonic()
      where = f'{self._unit} {epoch}/{self._epochs}'
      self._console.print(f'{self._arm}: {where}, {text}', soft_wrap=True)


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
    shown = ArmProgress(console, arm, epochs, bar, unit)
    bar.update(bar.task_ids[0], completed=done)
    yield shown


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
  train, test = ('train', 'test')
  if 'online_loss' in history.names:
    train, test = ('online', 'online')
  loss, accuracy = (
    history[name][~diverged, -1]
    for name in (f'{train}_loss', f'{test}_accuracy')
  )
  sd = np.std(accuracy, ddof=1) if len(accuracy) > 1 else None
  text = (
    f'{train} loss {np.mean(loss):.4f}, '
    f'{test} accuracy {_percent(np.mean(accuracy), sd)} %, {seconds}'
  )
  return text + (f', {diverged.sum()} diverged' if diverged.any() else '')


def _percent(mean: Any, sd: Any) -> str:
  """A fraction in percent, with its sd where there is one."""
  mean, sd = (np.nan if x is None else 100 * x for x in (mean, sd))
  return numbers.spread(mean, sd)


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
  # Where there is little room, the status is what takes more lines. In a grid,
  # the name of an arm says its hyperparameters, and may take several, too.
  grid = any(',' in arm for arm in results)
  table.add_column('arm', no_wrap=not grid, overflow='fold')
  for heading in ('lr', 'seeds', 'test accuracy', 'epoch', 'compile'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('status')
  for arm, result in results.items():
    accuracy = _percent(result['mean'], result['sd'])
    seconds = result['epoch_train_seconds']
    table.add_row(
      arm,
      f'{result["learning_rate"]:g}',
      str(len(result['seeds'])),
      accuracy if accuracy == numbers.NONE else f'{accuracy} %',
      numbers.NONE if seconds is None else f'{seconds:.3f} s',
      f'{compile_seconds[arm]:.1f} s'
      if arm in compile_seconds
      else numbers.NONE,
      _status(result),
    )
  return table


def stream_table(results: Mapping[str, Any], title: str) -> Table:
  """The table that a run on a stream ends with.

  Args:
    results: what `results.json` says, by arm.
    title: what stands above.

  Returns:
    A table to print.
  """
  columns, what = _ONLINE, 'online accuracy in percent'
  if any('forgetting' in each['measures'] for each in results.values()):
    columns = _OF_SPLITS
    what = 'percent, on all tasks after the last, or what was forgotten of them'
  table = Table(title=title, caption=f'{what}, mean ± sd over seeds')
  # Where there is little room, names take more lines; numbers are never cut.
  table.add_column('arm', overflow='fold')
  for heading in ('lr', *columns):
    table.add_column(heading, justify='right', no_wrap=True)
  unfinished = any(x['status'] != 'finished' for x in results.values())
  if unfinished:
    table.add_column('status')
  for arm, result in results.items():
    spreads = [result['measures'].get(name, {}) for name in columns.values()]
    table.add_row(
      arm,
      f'{result["learning_rate"]:g}',
      *(_percent(x.get('mean'), x.get('sd')) for x in spreads),
      *([_status(result)] if unfinished else []),
    )
  return table


def _status(result: Mapping[str, Any]) -> str:
  """How an arm ended, with the seeds that diverged."""
  if not result['diverged_seeds']:
    return result['status']
  seeds = ', '.join(map(str, result['diverged_seeds']))
  return f'{result["status"]} (seeds {seeds})'
