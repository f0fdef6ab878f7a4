"""Tables of results in the README, made from the committed tables of studies.

A comment says what a table holds: a study, a ruleset, conditions and arms.

  <!-- results: label_noise tuned fashion_mnist_10,… full,adamw,… -->

The table follows it, and ends at the first empty line. To write all of them
anew after a study was committed, run

  python -m tests.readme_tables
"""

from collections.abc import Sequence
import csv
import json
from pathlib import Path
import re
import statistics

ROOT = Path(__file__).parents[1]
README = ROOT / 'README.md'
STUDIES = ROOT / 'experiments' / 'results'
_BLOCK = re.compile(r'^<!-- results: (.*) -->\n((?:\|.*\n)*)', re.MULTILINE)


def blocks(text: str) -> list[tuple[str, str]]:
  """What the README says of each table, and the table."""
  return _BLOCK.findall(text)


def made(specification: str) -> str:
  """The table that a comment asks for."""
  study, ruleset, conditions, arms = specification.split()
  folder = STUDIES / study
  declared = json.loads((folder / 'study.json').read_text())['conditions']
  with (folder / 'results.csv').open(encoding='utf-8', newline='') as file:
    rows = [row for row in csv.DictReader(file) if row['ruleset'] == ruleset]
  columns = conditions.split(',')
  lines = [['optimizer', *(f'`{x}`' for x in columns)]]
  lines.append(['---'] * len(lines[0]))
  for arm in arms.split(','):
    own = [row for row in rows if row['arm'] == arm]
    cells = [
      _cell(
        [row for row in own if row['condition'] == condition],
        declared[condition]['chance'],
      )
      for condition in columns
    ]
    lines.append([f'`{arm}`', *cells])
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _cell(rows: Sequence[dict[str, str]], chance: float) -> str:
  """Mean ± sd of the test accuracy in percent; diverged seeds count as chance.

  Args:
    rows: of an arm under a condition and ruleset.
    chance: the accuracy of guessing.
  """
  if not rows or any(row['status'] == 'missing' for row in rows):
    raise ValueError(f'the results are not complete: {rows[:1]}')
  diverged = [row['status'] == 'diverged' for row in rows]
  accuracies = [
    100 * (chance if bad else float(row['test_accuracy']))
    for row, bad in zip(rows, diverged, strict=True)
  ]
  mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies)
  text = f'{mean:.2f} ± {sd:.2f}'
  return text + f' ({sum(diverged)} of {len(rows)} diverged)' * any(diverged)


def rewritten(text: str) -> str:
  """The README with every table made anew."""
  return _BLOCK.sub(
    lambda found: f'<!-- results: {found[1]} -->\n{made(found[1])}', text
  )


if __name__ == '__main__':
  README.write_text(
    rewritten(README.read_text(encoding='utf-8')), encoding='utf-8'
  )
