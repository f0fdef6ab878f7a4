"""Shows a run to a person, and draws its pictures."""

from collections.abc import Iterator
import contextlib

from rich.console import Console

from experiments import optimizers
from experiments.reporting import alpha
from experiments.reporting import curves
from experiments.reporting import overview
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
    combinations = f', {times} combinations of numbers' if times > 1 else ''
    self._say(
      f'{config.dataset}, {config.model}: {_counted(config.epochs, "epoch")}, '
      f'batch {config.batch_size}, {_counted(config.seeds, "seed")}'
      f'{combinations} → {run.workdir}'
    )

  def told(self, text: str) -> None:
    """See the base class."""
    self._say(text)

  def finished_before(self, run: runs.Run, arm: str, session: Session) -> None:
    """See the base class."""
    # It may have been killed between its last checkpoint and its last event.
    _board(run, arm, session.history)

  @contextlib.contextmanager
  def training(
    self, run: runs.Run, arm: str, session: Session
  ) -> Iterator[runs.Progress]:
    """See the base class."""
    epochs = run.config.epochs
    with terminal.progress(
      self._console, arm, session.done / session.steps, epochs
    ) as shown:
      yield _Progress(epochs, shown, _board(run, arm, session.history))

  def finished(self, run: runs.Run) -> None:
    """See the base class."""
    drawn = ', '.join(_draw(run))
    seconds = {
      label: run.compile_seconds[variant.arm]
      for label, variant in run.variants().items()
      if variant.arm in run.compile_seconds
    }
    self._console.print(
      terminal.results_table(run.results(), seconds, run.title)
    )
    self._say(f'metrics, results, {drawn} are in {run.workdir}')

  def _say(self, text: str) -> None:
    self._console.print(text, soft_wrap=True)


def _counted(count: int, what: str) -> str:
  return f'{count} {what}' + ('' if count == 1 else 's')


class _Progress(runs.Progress):
  """On a console, and in TensorBoard's files."""

  def __init__(
    self,
    epochs: int,
    shown: terminal.ArmProgress,
    board: tensorboard.Events | None,
  ) -> None:
    self._epochs, self._shown, self._board = epochs, shown, board

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


def _draw(run: runs.Run) -> list[str]:
  """Draws all pictures of a run, and says which."""
  variants = run.variants()
  histories = {label: each.history for label, each in variants.items()}
  curves.draw(histories, run.workdir / 'curves.png', run.title)
  drawn = ['curves.png']
  # Of a grid, α has too many pictures to be looked at.
  if len(run.config.combinations) > 1:
    return drawn
  for arm, history in run.histories.items():
    bounds = optimizers.ARMS[arm].alpha_bounds
    if not bounds or not history.diagnostics.epochs:
      continue
    if len(drawn) == 1:
      drawn.append('overview.png')
      overview.draw(
        run.histories, arm, bounds, run.workdir / drawn[-1], run.title
      )
    drawn.append(f'diagnostics/{arm}.png')
    alpha.draw(
      history.diagnostics,
      bounds,
      run.workdir / drawn[-1],
      f'{arm}: {run.title}',
    )
  return drawn
