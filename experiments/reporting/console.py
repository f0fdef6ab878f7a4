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


class Reporter(runs.Observer):
  """Progress and results on a console, pictures and events in the directory."""

  def __init__(self, console: Console) -> None:
    self._console = console

  def started(self, run: runs.Run) -> None:
    """See the base class."""
    config = run.config
    self._say(
      f'{config.dataset}, {config.model}: {config.epochs} epochs, batch '
      f'{config.batch_size}, {config.seeds} seeds → {run.workdir}'
    )

  def told(self, text: str) -> None:
    """See the base class."""
    self._say(text)

  @contextlib.contextmanager
  def training(
    self, run: runs.Run, arm: str, done: int
  ) -> Iterator[runs.AfterEpoch]:
    """See the base class."""
    with contextlib.ExitStack() as stack:
      show = stack.enter_context(
        terminal.progress(self._console, arm, done, run.config.epochs)
      )
      board = None
      if run.config.tensorboard:
        board = tensorboard.Events(
          run.workdir / 'tensorboard',
          arm,
          run.config.seed_list,
          done,
          optimizers.ARMS[arm].alpha_bounds,
        )
        stack.enter_context(contextlib.closing(board))

      def after_epoch(history: History) -> None:
        show(history)
        if board:
          board.add(history)

      yield after_epoch

  def finished(self, run: runs.Run) -> None:
    """See the base class."""
    drawn = ', '.join(_draw(run))
    self._console.print(
      terminal.results_table(run.results(), run.compile_seconds, run.title)
    )
    self._say(f'metrics, results, {drawn} are in {run.workdir}')

  def _say(self, text: str) -> None:
    self._console.print(text, soft_wrap=True)


def _draw(run: runs.Run) -> list[str]:
  """Draws all pictures of a run, and says which."""
  curves.draw(run.histories, run.workdir / 'curves.png', run.title)
  drawn = ['curves.png']
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
