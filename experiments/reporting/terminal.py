"""What a run shows a person: progress while it works, then a table."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.table import Table

from experiments.training.records import History


@contextlib.contextmanager
def progress(
  console: Console, arm: str, done: int, epochs: int
) -> Iterator[Callable[[History], None]]:
  """Shows an arm's epochs: a bar on a terminal, elsewhere a line an epoch.

  Args:
    console: where.
    arm: the arm's name.
    done: epochs done before.
    epochs: epochs in all.

  Yields:
    A function to call with the metrics after every epoch.
  """
  columns = (
    TextColumn('{task.description}'),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn('epochs, {task.fields[text]}'),
    TimeRemainingColumn(),
  )
  with Progress(
    *columns, console=console, disable=not console.is_terminal
  ) as p:
    task = p.add_task(arm, total=epochs, completed=done, text='…')

    def show(history: History) -> None:
      text = _epoch_text(history)
      p.update(task, completed=history.epochs, text=text)
      if not console.is_terminal:
        console.print(
          f'{arm}: epoch {history.epochs}/{epochs}, {text}', soft_wrap=True
        )

    yield show


def _epoch_text(history: History) -> str:
  diverged = history.diverged()
  seconds = f'{history["train_seconds"][0, -1]:.2f} s'
  if diverged.all():
    return f'all diverged, {seconds}'
  loss = history['train_loss'][~diverged, -1]
  accuracy = history['test_accuracy'][~diverged, -1]
  text = (
    f'train loss {np.mean(loss):.4f}, '
    f'test accuracy {percent(np.mean(accuracy), _sd(accuracy))}, {seconds}'
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
  table.add_column('arm', no_wrap=True)
  for heading in ('lr', 'seeds', 'test accuracy', 'epoch', 'compile'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('status')
  for arm, result in results.items():
    seconds = result['epoch_train_seconds']
    status = result['status']
    if result['diverged_seeds']:
      status += f' (seeds {", ".join(map(str, result["diverged_seeds"]))})'
    table.add_row(
      arm,
      f'{result["learning_rate"]:g}',
      str(len(result['seeds'])),
      percent(result['mean'], result['sd']),
      '–' if seconds is None else f'{seconds:.3f} s',
      f'{compile_seconds[arm]:.1f} s' if arm in compile_seconds else '–',
      status,
    )
  return table
