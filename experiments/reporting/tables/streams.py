"""How well the arms learn streams, and whether they keep learning."""

from collections.abc import Iterator
import math
from typing import Any

from experiments.reporting.tables import spreads
from experiments.reporting.tables.spreads import Quantity
from experiments.reporting.tables.spreads import Spread
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies.reading import Published

FIRST, LAST = 'online_accuracy_first_tenth', 'online_accuracy_last_tenth'
_GAP = 'gap_to_fresh'
# Those that streams.csv does not have.
CHANGE, _NORM = 'online_accuracy_change', 'weight_norm_at_end'
QUANTITIES = (
  Quantity('online_accuracy', 'online accuracy (%)', 100),
  Quantity(FIRST, 'first tenth (%)', 100),
  Quantity(LAST, 'last tenth (%)', 100),
  Quantity(CHANGE, 'last − first tenth (points)', 100, signed=True),
  Quantity(_GAP, 'gap to a new network (points)', 100, signed=True),
  Quantity('plasticity', 'plasticity', digits=3),
  Quantity('dead_units', 'dead units (%)', 100, digits=1),
  Quantity('effective_rank', 'effective rank', digits=1),
  Quantity(_NORM, '‖w‖ at the end', digits=1),
)
_NOTE = (
  'Mean ± standard deviation over the seeds that stayed finite. Online '
  'accuracy scores each batch before it is learned: of all tasks, of the first '
  'and of the last tenth of them; the difference of these two is below zero '
  'where the ability to learn was lost. Plasticity (the share of the loss on a '
  'batch that its update takes away), dead units and the effective rank of the '
  'last hidden layer are means over the tasks; ‖w‖ is the norm of the '
  'parameters after the last task.'
)
_OF_GAP = (
  ' The gap is how much more accurate Adam is, on every tenth task, if it '
  'begins that task with a new network, over the seeds that both have; the '
  'reference is the condition with a restart.'
)


def streams(study: Published) -> Table | None:
  """All arms under each condition that is a stream, the best one first."""
  rows = list(_rows(study))
  note = _NOTE
  if not all(math.isnan(row[_GAP]) for row in rows):
    note += _OF_GAP
  return spreads.table('streams', 'Streams', note, QUANTITIES, rows)


TABLES['streams'] = streams


def _rows(study: Published) -> Iterator[dict[str, Any]]:
  norms = _norms(study)
  for group, arms in spreads.measured(study).items():
    for arm, each in arms.items():
      found = {x.name: each.spread(x.name) for x in QUANTITIES}
      found[CHANGE] = each.change(FIRST, LAST)
      found[_NORM] = norms.get((*group, arm), Spread(math.nan, math.nan))
      yield spreads.row(study, group, arm, each, found)


def _norms(study: Published) -> dict[tuple[str, str, str], Spread]:
  """The norm after the last task, by condition, ruleset and arm."""
  found = {}
  for row in study.measures:
    last = row['task'] == study.conditions[row['condition']].tasks
    if last and row['measure'] == 'weight_norm':
      key = row['condition'], row['ruleset'], row['arm']
      found[key] = Spread(row['mean'], row['sd'])
  return found
