"""What the arms remember of the tasks of a split."""

from experiments.reporting.tables import spreads
from experiments.reporting.tables.spreads import Quantity
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies.reading import Published

QUANTITIES = (
  Quantity('average_accuracy', 'average accuracy (%)', 100),
  Quantity('backward_transfer', 'backward transfer (points)', 100, signed=True),
  Quantity('forgetting', 'forgetting (points)', 100),
  Quantity('min_accuracy', 'min-ACC (%)', 100),
  Quantity('worst_case_accuracy', 'WC-ACC (%)', 100),
)
_NOTE = (
  'Of splits, after the last task: mean ± standard deviation over the seeds '
  'that stayed finite. Average accuracy is that on all tasks. Backward '
  'transfer is what the accuracy on earlier tasks gained since each was '
  'learned, and forgetting how far it is below the best that it was before. '
  'min-ACC is the mean of the lowest accuracies that the earlier tasks had '
  'since they were learned; WC-ACC weighs it with the accuracy on the last '
  'task, as one task among all.'
)


def forgetting(study: Published) -> Table | None:
  """All arms under each condition that is a split, the best one first."""
  rows = [
    spreads.row(
      study,
      group,
      arm,
      each,
      {x.name: each.spread(x.name) for x in QUANTITIES},
    )
    for group, arms in spreads.measured(study).items()
    if study.conditions[group[0]].splits
    for arm, each in arms.items()
  ]
  return spreads.table('forgetting', 'Forgetting', _NOTE, QUANTITIES, rows)


TABLES['forgetting'] = forgetting
