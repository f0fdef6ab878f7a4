"""The tables that programs print."""

from collections.abc import Collection, Mapping, Sequence
import math
from typing import Any

from rich.table import Table

from experiments.reporting import numbers

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


def table(
  title: str,
  headings: Sequence[str],
  rows: Sequence[Sequence[str]],
  *,
  texts: Collection[int] = (0,),
  wrapped: Collection[int] = (),
  caption: str | None = None,
) -> Table:
  """A table to print.

  Columns have words if they are among `texts`, else numbers; those that are
  `wrapped` take more lines where there is little room.
  """
  made = Table(title=title, caption=caption)
  for i, heading in enumerate(headings):
    made.add_column(
      heading,
      justify='left' if i in texts else 'right',
      no_wrap=i not in wrapped,
      overflow='fold' if i in wrapped else 'ellipsis',
    )
  for row in rows:
    made.add_row(*row)
  return made


def results_table(
  results: Mapping[str, Any], compile_seconds: Mapping[str, float], title: str
) -> Table:
  """The table of `results.json`; compile times are those of this process."""
  rows = []
  for arm, result in results.items():
    accuracy = percent(result['mean'], result['sd'])
    rows.append(
      (
        arm,
        f'{result["learning_rate"]:g}',
        str(len(result['seeds'])),
        accuracy if accuracy == numbers.NONE else f'{accuracy} %',
        _seconds(result['epoch_train_seconds'], 3),
        _seconds(compile_seconds.get(arm), 1),
        _status(result),
      )
    )
  # In a grid, the name of an arm says its hyperparameters.
  grid = any(',' in arm for arm in results)
  return table(
    title,
    ('arm', 'lr', 'seeds', 'test accuracy', 'epoch', 'compile', 'status'),
    rows,
    texts=(0, 6),
    wrapped=(0, 6) if grid else (6,),
    caption=(
      'accuracy at the last epoch, mean ± sd over seeds; epoch: median wall '
      'time of a training epoch of all seeds, without compilation'
    ),
  )


def stream_table(results: Mapping[str, Any], title: str) -> Table:
  """The table of `results.json` of a stream."""
  columns, what = _ONLINE, 'online accuracy in percent'
  if any('forgetting' in each['measures'] for each in results.values()):
    columns = _OF_SPLITS
    what = 'percent, on all tasks after the last, or what was forgotten of them'
  unfinished = any(x['status'] != 'finished' for x in results.values())
  rows = []
  for arm, result in results.items():
    spreads = [result['measures'].get(name, {}) for name in columns.values()]
    rows.append(
      (
        arm,
        f'{result["learning_rate"]:g}',
        *(percent(x.get('mean'), x.get('sd')) for x in spreads),
        *([_status(result)] if unfinished else []),
      )
    )
  return table(
    title,
    ('arm', 'lr', *columns, *(['status'] if unfinished else [])),
    rows,
    texts=(0, 5),
    wrapped=(0, 5),
    caption=f'{what}, mean ± sd over seeds',
  )


def percent(mean: float | None, sd: float | None) -> str:
  """A fraction in percent, with its sd where there is one."""
  mean, sd = (math.nan if x is None else 100 * x for x in (mean, sd))
  return numbers.spread(mean, sd)


def _seconds(seconds: float | None, digits: int) -> str:
  return numbers.NONE if seconds is None else f'{seconds:.{digits}f} s'


def _status(result: Mapping[str, Any]) -> str:
  """How an arm ended, with the seeds that diverged."""
  if not result['diverged_seeds']:
    return result['status']
  seeds = ', '.join(map(str, result['diverged_seeds']))
  return f'{result["status"]} (seeds {seeds})'
