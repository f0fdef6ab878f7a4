"""Tables of results in the README, made from the committed tables of studies.

A comment says what a table holds: its kind, a study, a ruleset, and more.

  results   conditions and arms: the accuracy of every arm
      <!-- results: label_noise tuned fashion_mnist_10,… full,adamw,… -->
  streams   a condition, measures and arms: what every arm measured
      <!-- streams: streams tuned permuted_labels plasticity,… full,… -->
  differences   a condition, a reference and arms: the paired differences
      <!-- differences: streams tuned permuted_labels sgd full,adamw,… -->
  tasks     a condition, a measure, tasks and arms: the measure in those tasks
      <!-- tasks: streams tuned permuted_labels weight_norm 1,10 full,… -->

The table follows it, and ends at the first empty line. To write all of them
anew after a study was committed, run

  python -m tests.readme_tables
"""

from collections.abc import Iterable, Sequence
import json
from pathlib import Path
import re
import statistics

from experiments.reporting import measures
from experiments.reporting import numbers
from experiments.reporting.tables import forgetting
from experiments.reporting.tables import spreads
from experiments.reporting.tables import streams
from experiments.reporting.tables.spreads import Quantity
from experiments.studies import columns
from experiments.studies.reading import Row

ROOT = Path(__file__).parents[1]
README = ROOT / 'experiments' / 'results' / 'README.md'
STUDIES = ROOT / 'experiments' / 'results'
_BLOCK = re.compile(
  r'^<!-- (results|streams|differences|tasks): (.*) -->\n((?:\|.*\n)*)',
  re.MULTILINE,
)
_QUANTITIES = {
  each.name: each for each in (*streams.QUANTITIES, *forgetting.QUANTITIES)
}
_PERCENT = 100
_OF_TASKS = {each.name: each for each in measures.MEASURES}


def blocks(text: str) -> list[tuple[str, str, str]]:
  """Of each table its kind, what the README says of it, and the table."""
  return _BLOCK.findall(text)


def made(kind: str, specification: str) -> str:
  """The table that a comment asks for."""
  lines = list(_LINES[kind](*specification.split()))
  lines.insert(1, ['---'] * len(lines[0]))
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _results(
  study: str, ruleset: str, conditions: str, arms: str
) -> Iterable[list[str]]:
  declared = json.loads((STUDIES / study / 'study.json').read_text())
  rows = _read(study, 'results', ruleset=ruleset)
  names = conditions.split(',')
  yield ['optimizer', *(f'`{x}`' for x in names)]
  for arm in arms.split(','):
    cells = [
      _accuracy(
        only(rows, arm=arm, condition=condition),
        declared['conditions'][condition]['chance'],
      )
      for condition in names
    ]
    yield [f'`{arm}`', *cells]


def _accuracy(rows: Sequence[Row], chance: float) -> str:
  """Mean ± sd of the test accuracy in percent; diverged seeds count as chance.

  Args:
    rows: of an arm under a condition and ruleset.
    chance: the accuracy of guessing.
  """
  if not rows or any(row['status'] == 'missing' for row in rows):
    raise ValueError(f'the results are not complete: {rows[:1]}')
  diverged = [row['status'] == 'diverged' for row in rows]
  accuracies = [
    chance if bad else float(row['test_accuracy'])
    for row, bad in zip(rows, diverged, strict=True)
  ]
  # As reports have them, to the last digit.
  mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies)
  return f'{numbers.percent(mean)} ± {numbers.percent(sd)}{_lost(diverged)}'


def _streams(
  study: str, ruleset: str, condition: str, names: str, arms: str
) -> Iterable[list[str]]:
  rows = _read(study, 'streams', ruleset=ruleset, condition=condition)
  quantities = [_QUANTITIES[name] for name in names.split(',')]
  yield ['optimizer', 'seeds', *(each.heading for each in quantities)]
  for arm in arms.split(','):
    own = only(rows, arm=arm)
    diverged = {row['seed']: row['status'] == 'diverged' for row in own}
    cells = [
      each.text(spreads.spread(_values(own, each))) for each in quantities
    ]
    seeds = f'{len(diverged)}{_lost(list(diverged.values()))}'
    yield [f'`{arm}`', seeds, *cells]


def _values(rows: Sequence[Row], quantity: Quantity) -> list[float]:
  """What the seeds of an arm that stayed finite measured."""
  if quantity.name == streams.CHANGE:
    first, last = (
      _values(rows, _QUANTITIES[name]) for name in (streams.FIRST, streams.LAST)
    )
    return [y - x for x, y in zip(first, last, strict=True)]
  found = [row['value'] for row in only(rows, measure=quantity.name)]
  if not found:
    raise ValueError(f'no {quantity.name} of {rows[:1]}')
  return [float(x) for x in found if x]


def _differences(
  study: str, ruleset: str, condition: str, reference: str, arms: str
) -> Iterable[list[str]]:
  rows = _read(
    study,
    'comparisons',
    ruleset=ruleset,
    condition=condition,
    reference=reference,
  )
  yield ['optimizer', 'pairs', f'points above `{reference}`', 'p (Holm)']
  for arm in arms.split(','):
    (row,) = only(rows, arm=arm)
    names = ('mean_difference', 'ci_low', 'ci_high', 'p_holm')
    mean, low, high, p = (float(row[name]) for name in names)
    shown = f'{numbers.points(mean)} {numbers.interval(low, high)}'
    yield [f'`{arm}`', row['n'], shown, numbers.p_value(p)]


def _tasks(
  study: str,
  ruleset: str,
  condition: str,
  measure: str,
  tasks: str,
  arms: str,
) -> Iterable[list[str]]:
  rows = _read(study, 'measures', ruleset=ruleset, condition=condition)
  shown = _OF_TASKS[measure]
  digits = 2 if shown.factor == _PERCENT else 1
  wanted = tasks.split(',')
  yield [f'{shown.label} in task', *wanted]
  for arm in arms.split(','):
    cells = []
    for task in wanted:
      (row,) = only(rows, arm=arm, measure=measure, task=task)
      mean, sd = (shown.factor * float(row[x]) for x in ('mean', 'sd'))
      cells.append(f'{mean:.{digits}f} ± {sd:.{digits}f}')
    yield [f'`{arm}`', *cells]


_LINES = {
  'results': _results,
  'streams': _streams,
  'differences': _differences,
  'tasks': _tasks,
}


def _read(study: str, table: str, **wanted: str) -> list[Row]:
  return only(columns.table(STUDIES / study / f'{table}.csv', {}), **wanted)


def only(rows: Iterable[Row], **wanted: str) -> list[Row]:
  """The rows that have some values in some columns."""
  return [row for row in rows if wanted.items() <= row.items()]


def _lost(diverged: Sequence[bool]) -> str:
  count = sum(diverged)
  return f' ({count} of {len(diverged)} diverged)' if count else ''


def rewritten(text: str) -> str:
  """The README with every table made anew."""
  return _BLOCK.sub(
    lambda found: (
      f'<!-- {found[1]}: {found[2]} -->\n{made(found[1], found[2])}'
    ),
    text,
  )


if __name__ == '__main__':
  README.write_text(
    rewritten(README.read_text(encoding='utf-8')), encoding='utf-8'
  )
