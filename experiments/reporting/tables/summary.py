"""How good every arm is, and how far from the reference."""

from typing import Any

from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES
from experiments.studies import accuracies
from experiments.studies import comparisons
from experiments.studies import summaries
from experiments.studies.reading import Published

REFERENCE = comparisons.REFERENCES[0]
_FIELDS = (
  *('condition', 'ruleset', 'arm', 'family', 'seeds', 'seeds_planned'),
  *('seeds_diverged', 'measure', 'accuracy_percent', 'sd_percent'),
  *('difference_points', 'ci_low_points', 'ci_high_points', 'p', 'p_holm'),
  *('steps_to_target', 'seconds_to_target'),
)
_COMPARED = {
  'difference_points': 'mean_difference',
  'ci_low_points': 'ci_low',
  'ci_high_points': 'ci_high',
  'p': 'p',
  'p_holm': 'p_holm',
}
_NOTE = (
  ', mean ± standard deviation over seeds; '
  f'the difference to {REFERENCE} in percentage points, over the seeds that '
  'both arms have, with its 95 % t interval, and the p-value of the paired t '
  'test, adjusted by Holm’s procedure over the arms of the table. A diverged '
  'seed counts as chance.'
)
_TIMES = (
  ' Times are medians until the validation accuracy reaches the median of '
  f'{REFERENCE}; ∞ is a miss.'
)


def summary(study: Published) -> Table:
  """All arms under each condition and ruleset, the best one first."""
  compared = {
    (row['condition'], row['ruleset'], row['arm']): row
    for row in study.comparisons
    if row['reference'] == REFERENCE
  }
  rows = [
    _row(
      each,
      accuracies.of(study.conditions[each.condition].task),
      compared.get((each.condition, each.ruleset, each.arm), {}),
    )
    for each in summaries.of(study)
  ]
  order = {group: i for i, group in enumerate(study.planned)}
  rows.sort(
    key=lambda row: (
      order[row['condition'], row['ruleset']],
      # What is not there has no accuracy, and comes last.
      -row['mean'] if row['seeds'] else 1.0,
    )
  )
  found = accuracies.compared_in(study)
  name = accuracies.common(found)
  timed = any(each.target is not None for each in study.conditions.values())
  return Table(
    'summary',
    name.capitalize(),
    _note(found) + _TIMES * timed,
    _FIELDS,
    _columns(name, timed),
    rows,
    # What is compared follows from the condition.
    split=('condition', 'ruleset', *(['measure'] if len(found) > 1 else [])),
  )


TABLES['summary'] = summary


def _note(found: list[str]) -> str:
  name = accuracies.common(found)
  if name == accuracies.TEST:
    return f'Test accuracy after the last epoch{_NOTE}'
  return f'{name.capitalize()}{_NOTE}{accuracies.meaning(found)}'


def _row(
  each: summaries.Summary, measure: str, compared: Row
) -> dict[str, Any]:
  found = {
    field: compared.get(name, float('nan'))
    * (100 if field.endswith('points') else 1)
    for field, name in _COMPARED.items()
  }
  return {
    'condition': each.condition,
    'ruleset': each.ruleset,
    'arm': each.arm,
    'measure': measure,
    'family': families.of(each.arm),
    'seeds': each.n,
    'seeds_planned': each.planned,
    'seeds_diverged': each.diverged,
    'accuracy_percent': 100 * each.mean,
    'sd_percent': 100 * each.sd,
    'steps_to_target': each.steps,
    'seconds_to_target': each.seconds,
    'mean': each.mean,
    **found,
  }


def _columns(accuracy: str, timed: bool) -> tuple[Column, ...]:
  times = (
    numeric('steps to target', 'steps_to_target', numbers.count),
    numeric('seconds to target', 'seconds_to_target', numbers.short),
  )
  return (
    plain('arm'),
    Column(f'{accuracy} (%)', _accuracy, lambda row: row['mean']),
    Column('seeds', _seeds, lambda row: row['seeds']),
    numeric('diverged', 'seeds_diverged', str),
    Column(
      f'difference to {REFERENCE} (points)',
      _difference,
      lambda row: row['difference_points'],
    ),
    numeric('p (Holm)', 'p_holm', numbers.p_value),
    *(times if timed else ()),
  )


def _accuracy(row: Row) -> str:
  if not row['seeds']:
    return 'missing'
  text = numbers.percent(row['mean'])
  if row['seeds'] > 1:
    text += f' ± {row["sd_percent"]:.2f}'
  return 'diverged: ' * (row['seeds_diverged'] == row['seeds']) + text


def _seeds(row: Row) -> str:
  there, planned = row['seeds'], row['seeds_planned']
  return str(there) if there == planned else f'{there} of {planned}'


def _difference(row: Row) -> str:
  if row['arm'] == REFERENCE:
    return 'reference'
  return difference(
    *(row[f'{x}_points'] / 100 for x in ('difference', 'ci_low', 'ci_high'))
  )


def difference(mean: float, low: float, high: float) -> str:
  """A difference with its interval."""
  return f'{numbers.points(mean)} {numbers.interval(low, high)}'.strip()
