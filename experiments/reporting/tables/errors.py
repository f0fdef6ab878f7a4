"""How far the arms are from the best of every stream: scores of profiles."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.reporting import numbers
from experiments.reporting.tables import speed
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import profiles
from experiments.studies.reading import Published

# A smaller error counts as this: what is nothing has no multiple.
_SMALLEST = 1e-4


def costs(study: Published, ruleset: str) -> speed.Times | None:
  """The median error, 1 − accuracy, on the streams; as `speed.times`."""
  groups = {
    condition: arms
    for (condition, rules), arms in study.accuracies.items()
    if rules == ruleset and study.conditions[condition].stream
  }
  arms = sorted({arm for group in groups.values() for arm in group})
  found = np.full((len(arms), len(groups)), np.nan)
  for j, group in enumerate(groups.values()):
    for i, arm in enumerate(arms):
      if seeds := group.get(arm):
        error = 1 - float(np.median([*seeds.values()]))
        found[i, j] = max(error, _SMALLEST)
  return speed.comparable(arms, [*groups], found)


def errors(study: Published) -> Table | None:
  """The scores, by ruleset."""
  rows: list[dict[str, Any]] = []
  for ruleset in dict.fromkeys(ruleset for _, ruleset in study.planned):
    found = costs(study, ruleset)
    if found is None:
      continue
    rows += sorted(_rows(ruleset, found), key=lambda row: -row['score'])
  if not rows:
    return None
  return Table(
    'errors',
    'Errors over streams',
    'The error is what the accuracy lacks of 100 %, in the median over seeds. '
    'The score is the area under the performance profile up to four times the '
    'error of the best arm: 1 is the best on every stream, 0 never within four '
    'times of it.',
    ('ruleset', 'arm', 'score', 'largest_ratio', 'streams'),
    (
      plain('arm'),
      numeric('score', 'score', lambda x: f'{x:.2f}'),
      numeric('at worst, times the best', 'largest_ratio', numbers.short),
      numeric('streams', 'streams', str),
    ),
    rows,
    split=('ruleset',),
  )


TABLES['errors'] = errors


def _rows(ruleset: str, found: speed.Times) -> Iterator[dict[str, Any]]:
  ratios = profiles.ratios(found.times).max(axis=1)
  scores = profiles.score(found.times)
  for arm, score, ratio in zip(found.arms, scores, ratios, strict=True):
    yield {
      'ruleset': ruleset,
      'arm': arm,
      'score': float(score),
      'largest_ratio': float(ratio),
      'streams': len(found.conditions),
    }
