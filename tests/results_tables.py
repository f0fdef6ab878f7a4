"""Tables and pictures of results in the documents, from committed studies.

A comment says what follows it: its kind, a study, and more.

  results   a ruleset, conditions and arms: the accuracy of every arm
      <!-- results: label_noise tuned fashion_mnist_10,… full,adamw,… -->
  streams   a ruleset, a condition, measures and arms: what every arm measured
      <!-- streams: streams tuned permuted_labels plasticity,… full,… -->
  differences   a ruleset, a condition, a reference and arms: paired differences
      <!-- differences: streams tuned permuted_labels sgd full,adamw,… -->
  tasks     a ruleset, a condition, a measure, tasks and arms
      <!-- tasks: streams tuned permuted_labels weight_norm 1,10 full,… -->
  lines     a picture, a condition, a measure, and arms with their rulesets
      <!-- lines: streams online permuted_labels online_accuracy tuned/sgd,… -->
  forest    a picture, a condition, a reference and arms: paired differences
      <!-- forest: low_data forest fashion_mnist_10 adamw full,… -->

A table ends at the first empty line; a picture lies in the study's directory.
After a study was committed, this remakes all of them:

  python -m tests.results_tables
"""

from collections.abc import Callable, Iterable, Iterator
import functools
import hashlib
import json
from pathlib import Path
import re
import statistics

from matplotlib.figure import Figure
import pandas as pd
from PIL import Image

from experiments.reporting import numbers
from experiments.reporting import quantities
from experiments.reporting.figures import forest
from experiments.reporting.plots import lines
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.reporting.tables import streams
from experiments.studies import frames
from experiments.studies import loading
from experiments.studies.declarations import DEFAULT

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / 'experiments' / 'results'
DOCUMENTS = [
  path for x in (ROOT, STUDIES) if (path := x / 'README.md').exists()
]
_TABLE = re.compile(
  r'^<!-- (results|streams|differences|tasks): (.*) -->\n((?:\|.*\n)*)',
  re.MULTILINE,
)
_PICTURE = re.compile(
  r'^<!-- (lines|forest): (.*) -->\n!\[[^\]]+\]\(([^)]+)\)$', re.MULTILINE
)

_study = functools.cache(lambda name: loading.load(STUDIES / name))
_measured = functools.cache(lambda name: streams.measured(_study(name).streams))


def remade(text: str) -> str:
  """A document with every table made anew."""
  return _TABLE.sub(
    lambda x: f'<!-- {x[1]}: {x[2]} -->\n{_table(x[1], x[2])}', text
  )


def _table(kind: str, specification: str) -> str:
  make = {
    'results': _results,
    'streams': _streams,
    'differences': _differences,
    'tasks': _tasks,
  }[kind]
  rows = list(make(*specification.split()))
  rows.insert(1, ['---'] * len(rows[0]))
  return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def _results(
  name: str, ruleset: str, conditions: str, arms: str
) -> Iterator[list[str]]:
  results = _some(_study(name).results, ruleset=ruleset)
  yield ['optimizer', *(f'`{x}`' for x in conditions.split(','))]
  for arm in arms.split(','):
    cells = []
    for condition in conditions.split(','):
      rows = _some(results, condition=condition, arm=arm)
      if rows['accuracy'].isna().any():
        raise ValueError(f'the results are not complete: {condition}, {arm}')
      # Correctly rounded, where the last digit is a tie.
      mean = statistics.fmean(rows['accuracy'])
      text = numbers.spread(100 * mean, 100 * rows['accuracy'].std())
      diverged = (rows['status'] == frames.DIVERGED).sum()
      cells.append(text + _lost(diverged, len(rows)))
    yield [f'`{arm}`', *cells]


def _streams(
  name: str, ruleset: str, condition: str, names: str, arms: str
) -> Iterator[list[str]]:
  measured = _measured(name)
  shown = [quantities.BY_NAME[name] for name in names.split(',')]
  yield ['optimizer', 'seeds', *(each.heading for each in shown)]
  for arm in arms.split(','):
    row = _one(measured, condition=condition, ruleset=ruleset, arm=arm)
    seeds = row['seeds'] + row['seeds_diverged']
    counted = f'{seeds}{_lost(row["seeds_diverged"], seeds)}'
    cells = [x.text(row[x.name], row[f'{x.name}_sd']) for x in shown]
    yield [f'`{arm}`', counted, *cells]


def _differences(
  name: str, ruleset: str, condition: str, reference: str, arms: str
) -> Iterator[list[str]]:
  rows = _study(name).comparisons
  wanted = {'ruleset': ruleset, 'condition': condition, 'reference': reference}
  yield ['optimizer', 'pairs', f'points above `{reference}`', 'p (Holm)']
  for arm in arms.split(','):
    row = _one(rows, **wanted, arm=arm)
    ends = (100 * row[x] for x in ('mean_difference', 'ci_low', 'ci_high'))
    p = numbers.p_value(row['p_holm'])
    yield [f'`{arm}`', str(row['n']), numbers.difference(*ends), p]


def _tasks(
  name: str, ruleset: str, condition: str, measure: str, tasks: str, arms: str
) -> Iterator[list[str]]:
  rows = _study(name).measures
  wanted = {'ruleset': ruleset, 'condition': condition, 'measure': measure}
  shown = quantities.BY_NAME[measure]
  yield [f'{shown.heading} in task', *tasks.split(',')]
  for arm in arms.split(','):
    found = [
      _one(rows, **wanted, arm=arm, task=int(x)) for x in tasks.split(',')
    ]
    yield [f'`{arm}`', *(shown.text(x['mean'], x['sd']) for x in found)]


def _some(rows: pd.DataFrame, **wanted: object) -> pd.DataFrame:
  """The rows that have some values in some columns; there must be some."""
  for column, value in wanted.items():
    rows = rows[rows[column] == value]
  if rows.empty:
    raise ValueError(f'there are no rows of {wanted}')
  return rows


def _one(rows: pd.DataFrame, **wanted: object) -> dict[str, object]:
  (row,) = _some(rows, **wanted).to_dict('records')
  return row


def _lost(diverged: int, seeds: int) -> str:
  return f' ({diverged} of {seeds} diverged)' if diverged else ''


def pictures(document: Path) -> Iterable[tuple[str, str, Path]]:
  """Of each picture its kind, what a document says of it, and its path."""
  text = document.read_text(encoding='utf-8')
  for kind, specification, link in _PICTURE.findall(text):
    study, name, *_ = specification.split()
    path = STUDIES / study / f'{name}.png'
    if (document.parent / link).resolve() != path.resolve():
      raise ValueError(f'{link} is no picture of {specification}')
    yield kind, specification, path


def source(kind: str, specification: str) -> str:
  """What tells the comment and the rows of a picture from all others."""
  rows = _picture(kind, specification)[0].to_dict('records')
  text = json.dumps([kind, specification, rows])
  return hashlib.sha256(text.encode()).hexdigest()


def source_of(file: Path) -> str:
  """The source that a picture was drawn from."""
  with Image.open(file) as image:
    return str(image.info['Source'])


def drawn(kind: str, specification: str) -> bytes:
  """The picture that a comment asks for, as PNG."""
  _, draw = _picture(kind, specification)
  with style.report(specification):
    return saving.png(draw(), source(kind, specification))


def _picture(
  kind: str, specification: str
) -> tuple[pd.DataFrame, Callable[[], Figure]]:
  """The rows that a picture shows, and what draws it."""
  study, _, *words = specification.split()
  return {'lines': _lines, 'forest': _forest}[kind](study, *words)


def _lines(
  name: str, condition: str, measure: str, arms: str
) -> tuple[pd.DataFrame, Callable[[], Figure]]:
  shown = quantities.BY_NAME[measure]
  rows, found = [], {}
  for each in arms.split(','):
    ruleset, arm = each.split('/')
    wanted = {'condition': condition, 'ruleset': ruleset, 'measure': measure}
    own = _some(_study(name).measures, **wanted, arm=arm)
    rows.append(own)
    label = f'{arm}, untuned' if ruleset == DEFAULT else arm
    found[label] = lines.with_interval(own['task'], own, shown.factor)
  scale = lines.Scale('task', shown.heading, whole=True)
  draw = functools.partial(lines.together, found, scale, condition)
  return pd.concat(rows), draw


def _forest(
  name: str, condition: str, reference: str, arms: str
) -> tuple[pd.DataFrame, Callable[[], Figure]]:
  wanted = {'condition': condition, 'reference': reference}
  table = _study(name).comparisons
  rows = pd.concat(_some(table, **wanted, arm=x) for x in arms.split(','))
  return rows, forest.drawing(rows, reference, condition).make


if __name__ == '__main__':
  for document in DOCUMENTS:
    new = remade(document.read_text(encoding='utf-8'))
    document.write_text(new, encoding='utf-8')
    for *what, path in pictures(document):
      path.write_bytes(drawn(*what))
      print(path.relative_to(ROOT))
