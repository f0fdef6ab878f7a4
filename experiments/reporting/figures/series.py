"""Accuracy against what alone differs between conditions: data, or noise."""

from collections.abc import Iterator, Mapping
import itertools
import json

import numpy as np
import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting.figures import kind
from experiments.reporting.plots import lines
from experiments.reporting.tables import summary
from experiments.studies import statistics
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

_FIELDS = {
  'fraction': lines.Scale('fraction of the training data', '', log=True),
  'label_noise': lines.Scale('share of wrong labels', ''),
}
_ENDS = ['mean_difference', 'ci_low', 'ci_high']
# Conditions that differ in one field alone, by its values, which ascend.
_Series = Mapping[float, str]


def _note(study: Published) -> str:
  accuracy = accuracies.common(accuracies.compared_in(study))
  reference = summary.reference(study)
  difference = f', and the paired difference to {reference},' * bool(reference)
  return (
    f'{accuracy.capitalize()}{difference} against what alone differs between '
    'the conditions: mean over seeds and its 95 % t interval.'
  )


@kind.register(
  40,
  'Less data, wrong labels',
  _note,
  'The study has no conditions that differ only in the amount of data or in '
  'label noise.',
)
def conditions(study: Published) -> Iterator[kind.Drawing]:
  """Two pictures for every series and ruleset."""
  reference = summary.reference(study)
  means = _means(study.finals)
  compared = study.comparisons[study.comparisons['reference'] == reference]
  for field, series in _series(study):
    first = study.conditions[next(iter(series.values()))]
    accuracy = accuracies.compared(first.task)
    scale = _FIELDS[field]._replace(ticks=tuple(series))
    kinds = (
      (
        *('accuracy', means, accuracy.capitalize()),
        scale._replace(y=f'{accuracy} (%)'),
      ),
      (
        *('difference', compared, f'Difference to {reference}'),
        scale._replace(y=f'difference to {reference} (points)', zero=True),
      ),
    )
    for ruleset, (what, rows, above, axes) in itertools.product(
      kind.rulesets(study), kinds
    ):
      title = f'{above} against {scale.x}: {ruleset}'
      found = _lines(series, rows[rows['ruleset'] == ruleset])
      if found:
        parts, alt = (field, what, ruleset), f'{title}, for every arm.'
        yield kind.of_lines(study, parts, alt, found, axes, title)


def _series(study: Published) -> Iterator[tuple[str, _Series]]:
  defined = study.study['definition']['conditions']
  for field in _FIELDS:
    alike: dict[str, dict[float, str]] = {}
    for name, each in study.conditions.items():
      rest = {key: x for key, x in each.task.items() if key != field}
      same = json.dumps([rest, defined[name].get('numbers')], sort_keys=True)
      if isinstance(each.task.get(field), int | float):
        alike.setdefault(same, {})[each.task[field]] = name
    for found in alike.values():
      if len(found) > 1:
        yield field, dict(sorted(found.items()))


def _means(finals: pd.DataFrame) -> pd.DataFrame:
  """The mean accuracy of every arm with its interval, as a comparison."""
  rows = [
    (*key, *map(float, statistics.compare(own)[1:4]))
    for key, own in finals.groupby(IDENTITY, sort=False)['accuracy']
  ]
  return pd.DataFrame(rows, columns=[*IDENTITY, *_ENDS])


def _lines(series: _Series, rows: pd.DataFrame) -> dict[str, lines.Line]:
  """By arm, the line of its mean, low and high under each condition."""
  found = {}
  rows = rows[rows['condition'].isin(series.values())]
  for arm, own in rows.groupby('arm', sort=False):
    ends = own.set_index('condition')[_ENDS].reindex([*series.values()])
    if ends[_ENDS[0]].notna().any():
      found[str(arm)] = lines.Line(
        np.array([*series]), *(100 * ends.to_numpy()).T
      )
  return found
