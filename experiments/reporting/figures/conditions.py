"""Accuracy against what alone differs between conditions: data, or noise."""

from collections.abc import Iterator, Mapping, Sequence
import json
from typing import Any

import numpy as np

from experiments.reporting import accuracies
from experiments.reporting.figures import kind
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import lines
from experiments.studies import comparisons
from experiments.studies import statistics
from experiments.studies.loading import Published

_FIELDS = {
  'fraction': lines.Scale('fraction of the training data', '', log=True),
  'label_noise': lines.Scale('share of wrong labels', ''),
}
_REFERENCE = comparisons.REFERENCES[0]


# Conditions that differ in one field alone, by its values, which ascend.
_Series = Mapping[float, str]


def _note(study: Published) -> str:
  accuracy = accuracies.common(accuracies.compared_in(study))
  return (
    f'{accuracy.capitalize()}, and the paired difference to {_REFERENCE}, '
    'against what alone differs between the conditions: mean over seeds and '
    'its 95 % t interval.'
  )


@register(
  40,
  'Less data, wrong labels',
  _note,
  'The study has no conditions that differ only in the amount of data or in '
  'label noise.',
)
def conditions(study: Published) -> Iterator[Drawing]:
  """Two pictures for every series and ruleset."""
  for field, series in _series(study):
    first = study.conditions[next(iter(series.values()))]
    accuracy = accuracies.compared(first.task)
    scale = _FIELDS[field]._replace(ticks=tuple(series))
    above = f'Difference to {_REFERENCE}'
    for ruleset in kind.rulesets(study):
      for what, found, title, axes in (
        (
          'accuracy',
          _accuracies(study, series, ruleset),
          f'{accuracy.capitalize()} against {scale.x}: {ruleset}',
          scale._replace(y=f'{accuracy} (%)'),
        ),
        (
          'difference',
          _differences(study, series, ruleset),
          f'{above} against {scale.x}: {ruleset}',
          scale._replace(y=f'{above.lower()} (points)', zero=True),
        ),
      ):
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


def _accuracies(
  study: Published, series: _Series, ruleset: str
) -> dict[str, lines.Line]:
  found = []
  there = kind.by_arm(study, study.finals)
  for condition in series.values():
    means = {}
    for arm, rows in there.get((condition, ruleset), {}).items():
      x = rows['accuracy'].to_numpy()
      means[arm] = (statistics.mean_difference(x), *statistics.t_interval(x))
    found.append(means)
  return _lines(series, found)


def _differences(
  study: Published, series: _Series, ruleset: str
) -> dict[str, lines.Line]:
  rows = study.comparisons
  rows = rows[(rows['ruleset'] == ruleset) & (rows['reference'] == _REFERENCE)]
  found = []
  for condition in series.values():
    own = rows[rows['condition'] == condition].set_index('arm')
    own = own[['mean_difference', 'ci_low', 'ci_high']]
    found.append({arm: tuple(each) for arm, each in own.iterrows()})
  return _lines(series, found)


def _lines(
  series: _Series, found: Sequence[Mapping[str, tuple[Any, ...]]]
) -> dict[str, lines.Line]:
  """By arm, the line of its mean, low and high under each condition."""
  nothing = (np.nan,) * 3
  made = {}
  for arm in dict.fromkeys(arm for each in found for arm in each):
    values = 100 * np.array([each.get(arm, nothing) for each in found], float)
    if np.isfinite(values[:, 0]).any():
      made[arm] = lines.Line(np.array([*series]), *values.T)
  return made
