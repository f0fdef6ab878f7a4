"""Shows a run to a person, and draws its pictures."""

from collections.abc import Iterator
import contextlib

from rich.console import Console

from experiments import optimizers
from experiments.reporting import run_pictures
from experiments.reporting import tensorboard
from experiments.reporting import terminal
from experiments.training import run as runs
from experiments.training.records import History
from experiments.training.session import Session


class Reporter(runs.Observer):
  """Progress and results on a console, pictures and events in the directory."""

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
    self._say(
      f'{stream}{config.dataset}, {config.model}: {length}, '
      f'batch {batch_size}, {_counted(config.seeds, "seed")}'
      f'{combinations} → {run.workdir}'
    )

  def log(self, text: str) -> None:
    """See the base class."""
    self._say(text)

  @contextlib.contextmanager
  def training(
    self, run: runs.Run, arm: str, session: Session
  ) -> Iterator[None]:
    """See the base class."""
    self._epochs, done = run.config.length, session.done / session.steps
    # Of a finished arm, too: a kill may have cost it its last event.
    self._board = _board(run, arm, session.history)
    with terminal.progress(
      self._console, arm, done, self._epochs, run.config.unit
    ) as self._shown:
      yield

  def advanced(self, session: Session) -> None:
    """See the base class."""
    self._shown.advanced(
      session.done, session.steps, session.seconds_left(self._epochs)
    )

  def epoch(self, history: History) -> None:
    """See the base class."""
    self._shown.epoch(history)
    if self._board:
      self._board.add(history)

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
    drawn = run_pictures.draw(run, self._say)
    written = ', '.join(['metrics', 'results', *drawn])
    self._say(f'{written} are in {run.workdir}')

  def _say(self, text: str) -> None:
    self._console.print(text, soft_wrap=True)


def _counted(count: int, what: str) -> str:
  return f'{count} {what}' + ('' if count == 1 else 's')


def _board(
  run: runs.Run, arm: str, history: History
) -> tensorboard.Events | None:
  """TensorBoard's files of an arm so far, if the user wants them."""
  if not run.config.tensorboard:
    return None
  return tensorboard.Events(
    run.workdir / 'tensorboard' / arm,
    _names(run),
    history,
    optimizers.ARMS[arm].alpha_bounds,
  )


def _names(run: runs.Run) -> list[str]:
  """A folder for each trial, below that of its arm."""
  return [
    '/'.join([*(f'{k}={v:g}' for k, v in numbers.items()), f'seed{seed}'])
    for numbers in run.config.combinations
    for seed in run.config.seed_list
  ]
