"""Shows a run to a person, and draws its pictures."""

from collections.abc import Iterator
import contextlib

from rich.console import Console

from experiments import optimizers
from experiments.reporting import alpha
from experiments.reporting import curves
from experiments.reporting import overview
from experiments.reporting import streams
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

  def told(self, text: str) -> None:
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
    drawn = ', '.join(_draw(run))
    if run.tasks:
      table = streams.results_table(run.results(), run.title)
    else:
      seconds = {
        label: run.compile_seconds[variant.arm]
        for label, variant in run.variants().items()
        if variant.arm in run.compile_seconds
      }
      table = terminal.results_table(run.results(), seconds, run.title)
    self._console.print(table)
    self._say(f'metrics, results, {drawn} are in {run.workdir}')

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


def _draw(run: runs.Run) -> list[str]:
  """Draws all pictures of a run, and says which."""
  variants = run.variants()
  histories = {label: each.history for label, each in variants.items()}
  if run.tasks:
    drawn = streams.draw(histories, run.tasks.updates, run.workdir, run.title)
    return [*drawn, *_draw_alpha(run)]
  curves.draw(histories, run.workdir / 'curves.png', run.title)
  drawn = _draw_alpha(run)
  # Of the first arm that has an α.
  for arm, history in run.histories.items():
    if drawn and history.diagnostics.epochs:
      drawn.insert(0, 'overview.png')
      overview.draw(
        run.histories,
        arm,
        _bounds(arm),
        run.workdir / drawn[0],
        run.title,
      )
      break
  return ['curves.png', *drawn]


def _draw_alpha(run: runs.Run) -> list[str]:
  """Draws what α did in every arm that has one."""
  # Of a grid, α has too many pictures to be looked at.
  if len(run.config.combinations) > 1:
    return []
  drawn = []
  for arm, history in run.histories.items():
    if not optimizers.ARMS[arm].alpha_bounds or not history.diagnostics.epochs:
      continue
    drawn.append(f'diagnostics/{arm}.png')
    alpha.draw(
      history.diagnostics,
      _bounds(arm),
      run.workdir / drawn[-1],
      f'{arm}: {run.title}',
      run.config.unit,
    )
  return drawn


def _bounds(arm: str) -> tuple[float, float]:
  bounds = optimizers.ARMS[arm].alpha_bounds
  assert bounds
  return bounds
