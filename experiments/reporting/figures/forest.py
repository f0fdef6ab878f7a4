"""Paired differences to the references, with their intervals."""

from collections.abc import Iterator
import functools
from typing import Any

import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import families
from experiments.reporting.plots import intervals
from experiments.studies.loading import Published

# Conditions with so few arms are rows of one picture.
_FEW = 2
# By ruleset, then by label.
Panels = dict[str, dict[str, intervals.Interval]]


def _note(study: Published) -> str:
  return (
    f'Mean difference in {accuracies.common(accuracies.compared_in(study))} '
    'over the seeds that both arms have, with its 95 % t interval. A filled '
    'marker means p < 0.05 after Holm’s procedure. An arrow at the edge means '
    'that the value lies beyond it; the number says where.'
  )


@register(
  10,
  'Paired differences',
  _note,
  'There is no comparison with a reference (comparisons.csv has no rows).',
)
def forest(study: Published) -> Iterator[Drawing]:
  """A picture for every reference and condition."""
  for reference, own in study.comparisons.groupby('reference', sort=False):
    here = {
      condition: with_pairs(own[own['condition'] == condition])
      for condition in study.conditions
    }
    few = [x for x, rows in here.items() if 0 < rows['arm'].nunique() <= _FEW]
    pooled: dict[str, Panels] = {}
    for condition, rows in here.items():
      if condition in few and len(few) > 1:
        for row in rows.itertuples():
          _add(pooled.setdefault(row.arm, {}), row, condition)
      elif len(rows):
        yield drawing(rows, (condition,), reference, condition)
    for arm, panels in pooled.items():
      yield _drawing(panels, (arm,), reference, f'{arm} under each condition')


def with_pairs(rows: pd.DataFrame) -> pd.DataFrame:
  """Comparisons, or none where not one of them has a pair of seeds yet."""
  return rows if rows['n'].any() else rows[:0]


def drawing(
  rows: pd.DataFrame, parts: tuple[str, ...], reference: str, title: str
) -> Drawing:
  """A picture of comparisons with one reference, a row for each arm.

  Args:
    rows: as those of `comparisons.csv`.
    parts: of the name of the picture.
    reference: the reference.
    title: what else stands above.
  """
  panels: Panels = {}
  for row in rows.itertuples():
    _add(panels, row, row.arm)
  return _drawing(panels, parts, reference, title)


def _add(panels: Panels, row: Any, label: str) -> None:
  panels.setdefault(row.ruleset, {})[label] = intervals.Interval(
    families.of(row.arm),
    *(row.mean_difference, row.ci_low, row.ci_high, row.p_holm),
  )


def _drawing(
  panels: Panels, parts: tuple[str, ...], reference: str, title: str
) -> Drawing:
  return Drawing(
    (*parts, reference),
    f'Differences to {reference} with intervals, {title}; the table of paired '
    'differences has the numbers.',
    functools.partial(
      intervals.draw,
      panels,
      f'Difference to {reference}: {title}',
      f'difference to {reference} (points)',
    ),
  )
