"""What one change of the method does."""

from collections.abc import Iterator

from experiments.reporting.figures import forest
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import register
from experiments.reporting.tables import differences
from experiments.studies.loading import Published


@register(
  20,
  'One change at a time',
  'Each variant of the method against the whole method: left of zero, the '
  'change costs accuracy. Where they were tuned, their other numbers differ, '
  'too. Holm’s procedure is over the variants alone.',
  'The study has no variants of the method to compare with the whole.',
)
def ablation(study: Published) -> Iterator[Drawing]:
  """A picture for every condition that has several variants."""
  rows = differences.of_variants(study)
  for condition in study.conditions:
    own = forest.with_pairs(rows[rows['condition'] == condition])
    # The forest of differences shows a single variant.
    if own['arm'].nunique() > 1:
      yield forest.drawing(own, own['reference'].iloc[0], condition)
