"""Accuracy against what alone differs between conditions: data, or noise."""

from collections.abc import Iterator, Mapping
import functools
import json
from typing import NamedTuple

import numpy as np

from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import panels
from experiments.studies import accuracies
from experiments.studies import comparisons
from experiments.studies import statistics
from experiments.studies.reading import Published

_FIELDS = {
  'fraction': panels.Scale('fraction of the training data', '', log=True),
  'label_noise': panels.Scale('share of wrong labels', ''),
}
_REFERENCE = comparisons.REFERENCES[0]


class _Series(NamedTuple):
  """Conditions that differ in one field.

  Attributes:
    field: which.
    values: ascending.
    conditions: by value.
  """

  field: str
  values: tuple[float, ...]
  conditions: tuple[str, ...]


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
  for series in _series(study):
    accuracy = accuracies.of(study.conditions[series.conditions[0]].task)
    for ruleset in dict.fromkeys(ruleset for _, ruleset in study.planned):
      for what, lines, y in (
        ('accuracy', _accuracies(study, series, ruleset), None),
        ('difference', _differences(study, series, ruleset), _REFERENCE),
      ):
        if not lines:
          continue
        scale = _FIELDS[series.field]._replace(
          y=f'{accuracy} (%)', ticks=series.values
        )
        title = f'{accuracy.capitalize()} against {scale.x}: {ruleset}'
        if y:
          scale = scale._replace(y=f'difference to {y} (points)', zero=True)
          title = f'Difference to {y} against {scale.x}: {ruleset}'
        yield Drawing(
          (series.field, what, ruleset),
          f'{title}, for every arm.',
          functools.partial(panels.draw, lines, study.arms, scale, title),
        )


def _series(study: Published) -> Iterator[_Series]:
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
        values = tuple(sorted(found))
        yield _Series(field, values, tuple(found[x] for x in values))


def _accuracies(
  study: Published, series: _Series, ruleset: str
) -> dict[str, panels.Line]:
  def of(condition: str) -> dict[str, tuple[float, float, float]]:
    arms = study.accuracies.get((condition, ruleset), {})
    found = {}
    for arm, seeds in arms.items():
      x = [*seeds.values()]
      low, high = statistics.t_interval(x) if x else (np.nan, np.nan)
      mean = float(statistics.mean_difference(x))
      found[arm] = (mean, float(low), float(high))
    return found

  return _lines(series, [of(name) for name in series.conditions])


def _differences(
  study: Published, series: _Series, ruleset: str
) -> dict[str, panels.Line]:
  return _lines(
    series,
    [
      {
        row['arm']: tuple(
          row[x] for x in ('mean_difference', 'ci_low', 'ci_high')
        )
        for row in study.comparisons
        if (row['condition'], row['ruleset'], row['reference'])
        == (name, ruleset, _REFERENCE)
      }
      for name in series.conditions
    ],
  )


def _lines(
  series: _Series, found: list[Mapping[str, tuple[float, ...]]]
) -> dict[str, panels.Line]:
  nothing = (np.nan,) * 3
  lines = {}
  for arm in dict.fromkeys(arm for each in found for arm in each):
    values = 100 * np.array([each.get(arm, nothing) for each in found], float)
    if np.isfinite(values[:, 0]).any():
      lines[arm] = panels.Line(np.array(series.values), *values.T)
  return lines
