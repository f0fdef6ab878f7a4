"""Paired differences to the references, with their intervals."""

from collections.abc import Iterator
import functools

import pandas as pd

from experiments.reporting import accuracies
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.plots import intervals
from experiments.studies.loading import Published

# Conditions with so few arms are rows of one picture.
_FEW = 2


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
    here = {x: with_pairs(own[own['condition'] == x]) for x in study.conditions}
    few = [x for x, rows in here.items() if 0 < rows['arm'].nunique() <= _FEW]
    few *= len(few) > 1
    for condition, rows in here.items():
      if condition not in few and len(rows):
        yield drawing(rows, str(reference), condition)
    if few:
      rows = pd.concat(here[condition] for condition in few)
      for arm, same in rows.groupby('arm', sort=False):
        yield drawing(same, str(reference), str(arm), by='condition')


def with_pairs(rows: pd.DataFrame) -> pd.DataFrame:
  """Comparisons, or none where not one of them has a pair of seeds yet."""
  return rows if rows['n'].any() else rows[:0]


def drawing(
  rows: pd.DataFrame, reference: str, name: str, by: str = 'arm'
) -> Drawing:
  """A picture of comparisons with one reference.

  Args:
    rows: as those of `comparisons.csv`.
    reference: the reference.
    name: what they have in common: a condition or an arm.
    by: in what they differ, arm or condition.
  """
  what = name if by == 'arm' else f'{name} under each condition'
  return Drawing(
    (name, reference),
    f'Differences to {reference} with intervals, {what}; the table of paired '
    'differences has the numbers.',
    functools.partial(
      intervals.draw,
      rows.assign(label=rows[by]),
      f'Difference to {reference}: {what}',
      f'difference to {reference} (points)',
    ),
  )
