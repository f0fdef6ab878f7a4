"""Small study directories: parts of committed ones, in which things went wrong.

All names and numbers are those of a real study; only the intervals and p-values
of `comparisons.csv` are computed anew.
"""

import io
import json
from pathlib import Path

import pandas as pd

from experiments.reporting import figures
from experiments.reporting.plots import style
from experiments.reporting.tables import TABLES
from experiments.studies import comparisons
from experiments.studies import frames
from experiments.studies import loading
from experiments.studies import scores

RESULTS = Path(__file__).parents[3] / 'experiments' / 'results'
# The arguments of `write` for a study of streams; the default is of epochs.
STREAMS = {
  'source': 'streams',
  'conditions': ('permuted_labels', 'split'),
  'arms': ('full', 'sgd', 'upgd', 'adamw'),
}


def write(
  path,
  *,
  source='low_data',
  conditions=('fashion_mnist_10', 'fashion_mnist_100'),
  arms=('full', 'unit_mean', 'sgdm', 'adamw'),
  seeds=4,
  diverged=(),
  missing=(),
  tables=None,
  change=lambda tables: None,
):
  """Writes the directory of a study.

  Args:
    path: the directory, which is made.
    source: the committed study.
    conditions: those that are left.
    arms: those that are left.
    seeds: how many are left.
    diverged: the arms all of whose seeds diverged.
    missing: the arms of which the last half of the seeds is missing.
    tables: which tables are written besides `results.csv`; None for all.
    change: what else is done to the tables, by name.

  Returns:
    The tables that were written, by name.
  """
  path.mkdir(parents=True)
  study = json.loads((RESULTS / source / 'study.json').read_text())
  study['arms'] = [*arms]
  for known in (study['conditions'], study['definition']['conditions']):
    for name in known.keys() - {*conditions}:
      del known[name]
  for tuning in study['tuning'].values():
    numbers = tuning['numbers']
    tuning['numbers'] = {x: numbers[x] for x in arms if x in numbers}
  found = {name: frames.read(RESULTS / source, name) for name in frames.TABLES}
  for name, table in found.items():
    own = table['arm'].isin(arms)
    if name != 'trials':
      own &= table['condition'].isin(conditions)
    if name in ('results', 'streams'):
      own &= table['seed'] < seeds
    found[name] = table[own].reset_index(drop=True)
  _spoil(found, seeds, diverged, missing)
  chances = {x: study['conditions'][x]['chance'] for x in conditions}
  references = comparisons.REFERENCES[: 2 if 'gradient_only' in arms else 1]
  found['comparisons'] = comparisons.compare(
    scores.with_accuracy(found['results'], chances), references
  )
  change(found)
  for name, table in found.items():
    if len(table) and (name == 'results' or tables is None or name in tables):
      frames.write(path, name, table)
  (path / 'study.json').write_text(json.dumps(study))
  return found


def small(path, **given):
  """A study that was written, and loaded again."""
  write(path / 'x', **given)
  return loading.load(path / 'x')


def _spoil(found, seeds, diverged, missing):
  """Marks what diverged, and takes away what is missing."""
  for name in ('results', 'streams'):
    lost = found[name]['arm'].isin(diverged)
    found[name].loc[lost, 'status'] = frames.DIVERGED
  found['streams'].loc[found['streams']['arm'].isin(diverged), 'value'] = None
  results = found['results']
  late = results['arm'].isin(missing) & (results['seed'] >= seeds // 2)
  numbers = ['validation_accuracy', 'test_accuracy', 'steps_to_target']
  results.loc[late, [*numbers, 'seconds_to_target']] = None
  results.loc[late, 'status'] = 'missing'
  late = found['streams']['arm'].isin(missing)
  late &= found['streams']['seed'] >= seeds // 2
  found['streams'] = found['streams'][~late]
  for name in ('measures', 'evaluations'):
    table = found[name]
    table['n'] = table['n'].clip(upper=seeds)
    table.loc[table['arm'].isin(missing), 'n'] = seeds // 2
    table.loc[table['arm'].isin(diverged), 'n'] = 0
    table.loc[table['arm'].isin(diverged), ['mean', 'sd']] = None
  lost = found['measures']['arm'].isin(diverged)
  found['measures'] = found['measures'][~lost]


def table(study, name):
  """A table of the report of a study."""
  return pd.read_csv(io.StringIO(TABLES[name](study).csv()))


def drawn(study, kind, *parts):
  """A figure of a study, before it is written."""
  (found,) = (x for x in figures.KINDS[kind].draw(study) if x.parts == parts)
  with style.report(kind):
    return found.make()


def some(rows, *identity, **wanted):
  """The rows of a condition, ruleset and arm, or with some other values."""
  wanted = dict(zip(scores.IDENTITY, identity, strict=False)) | wanted
  return rows[(rows[[*wanted]] == [*wanted.values()]).all(axis=1)]
