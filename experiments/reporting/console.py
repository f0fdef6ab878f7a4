"""Shows a run to a person, and draws its pictures."""

from collections.abc import Iterator
import contextlib
import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn

from experiments import optimizers
from experiments.reporting import run_pictures
from experiments.reporting import tensorboard
from experiments.reporting import terminal
from experiments.training import run as runs
from experiments.training.records import History
from experiments.training.session import Session

# Where there is no bar, how often a line says how far a long epoch is.
_LINE_SECONDS = 10.0


class Reporter(runs.Observer):
  """Progress and results on a console, pictures and events in the directory.

  Progress is a bar on a terminal, and lines elsewhere.
  """

  def __init__(self, console: Console) -> None:
    self._console = console

  def started(self, run: runs.Run) -> None:
    """See the base class."""
    config = run.config
    times = len(config.combinations)
    combinations = (
      f', {times} combinations of hyperparameters' if times > 1 else ''
    )
    length = _counted(config.length, config.unit)
    stream, batch_size = '', config.batch_size
    if run.tasks:
      stream, batch_size = f'{config.stream}, ', run.tasks.batch_size
      length += f' of {_counted(run.tasks.updates, "update")}'
    self.log(
      f'{stream}{config.dataset}, {config.model}: {length}, '
      f'batch {batch_size}, {_counted(config.seeds, "seed")}'
      f'{combinations} → {run.workdir}'
    )

  def log(self, text: str) -> None:
    """See the base class."""
    self._console.print(text, soft_wrap=True)

  @contextlib.contextmanager
  def training(
    self, run: runs.Run, arm: str, session: Session
  ) -> Iterator[None]:
    """See the base class."""
    self._arm, self._config = arm, run.config
    # Of a finished arm, too: a kill may have cost it its last event.
    self._board = _board(run, arm, session.history)
    self._last_line = time.monotonic()
    with Progress(
      TextColumn('{task.description}'),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn(f'{run.config.unit}s, {{task.fields[text]}}'),
      TimeRemainingColumn(),
      console=self._console,
      disable=not self._console.is_terminal,
    ) as self._bar:
      self._task = self._bar.add_task(arm, total=run.config.length, text='…')
      self._bar.update(self._task, completed=session.done / session.steps)
      yield

  def advanced(self, session: Session) -> None:
    """See the base class."""
    self._bar.update(self._task, completed=session.done / session.steps)
    if time.monotonic() - self._last_line < _LINE_SECONDS:
      return
    seconds = session.seconds_left(self._config.length)
    left = '' if seconds is None else f', {_duration(seconds)} left'
    epoch, update = divmod(session.done, session.steps)
    if update:
      self._line(epoch + 1, f'update {update}/{session.steps}{left}')
    else:
      self._line(epoch, f'evaluating{left}')

  def epoch(self, history: History) -> None:
    """See the base class."""
    text = _epoch_text(history)
    self._bar.update(self._task, completed=history.epochs, text=text)
    self._line(history.epochs, text)
    if self._board:
      self._board.add(history)

  def _line(self, epoch: int, text: str) -> None:
    """Says it where there is no bar."""
    if not self._console.is_terminal:
      self._last_line = time.monotonic()
      where = f'{self._config.unit} {epoch}/{self._config.length}'
      self.log(f'{self._arm}: {where}, {text}')

  def finished(self, run: runs.Run) -> None:
    """See the base class."""
    if run.tasks:
      table = terminal.stream_table(run.results(), run.title)
    else:
      seconds = {
        label: run.compile_seconds[variant.arm]
        for label, variant in run.variants().items()
        if variant.arm in run.compile_seconds
      }
      table = terminal.results_table(run.results(), seconds, run.title)
    self._console.print(table)
    drawn = run_pictures.draw(run, self.log)
    written = ', '.join(['metrics', 'results', *drawn])
    self.log(f'{written} are in {run.workdir}')


def _counted(count: int, what: str) -> str:
  return f'{count} {what}' + ('' if count == 1 else 's')


def _duration(seconds: float) -> str:
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
    f'{test} accuracy {terminal.percent(np.mean(accuracy), sd)} %, {seconds}'
  )
  return text + (f', {diverged.sum()} diverged' if diverged.any() else '')


def _board(
  run: runs.Run, arm: str, history: History
) -> tensorboard.Events | None:
  """TensorBoard's files of an arm so far, if the user wants them."""
  if not run.config.tensorboard:
    return None
  # A folder for each trial.
  names = [
    '/'.join([*(f'{k}={v:g}' for k, v in numbers.items()), f'seed{seed}'])
    for numbers in run.config.combinations
    for seed in run.config.seed_list
  ]
  return tensorboard.Events(
    run.workdir / 'tensorboard' / arm,
    names,
    history,
    optimizers.ARMS[arm].alpha_bounds,
  )
