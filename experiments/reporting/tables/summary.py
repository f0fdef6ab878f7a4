"""How good every arm is, and how far from the reference."""

from experiments.reporting import accuracies
from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables.table import best_first
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import numeric
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import register
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.studies import comparisons
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

_REFERENCE = comparisons.REFERENCES[0]
_FIELDS = (
  *(*IDENTITY, 'family', 'seeds', 'seeds_planned', 'seeds_diverged', 'measure'),
  *('accuracy_percent', 'sd_percent'),
  *('difference_points', 'ci_low_points', 'ci_high_points', 'p', 'p_holm'),
  *('steps_to_target', 'seconds_to_target'),
)
_NAMES = {
  'diverged': 'seeds_diverged',
  'mean': 'accuracy_percent',
  'sd': 'sd_percent',
  'mean_difference': 'difference_points',
  'ci_low': 'ci_low_points',
  'ci_high': 'ci_high_points',
  'steps': 'steps_to_target',
  'seconds': 'seconds_to_target',
}
_SCALED = [
  new for new in _NAMES.values() if new.endswith(('percent', 'points'))
]
_NOTE = (
  ', mean ± standard deviation over seeds; '
  f'the difference to {_REFERENCE} in percentage points, over the seeds that '
  'both arms have, with its 95 % t interval, and the p-value of the paired t '
  'test, adjusted by Holm’s procedure over the arms of the table. A diverged '
  'seed counts as chance.'
)
_TIMES = (
  ' Times are medians until the validation accuracy reaches the median of '
  f'{_REFERENCE}; ∞ is a miss.'
)


@register
def summary(study: Published) -> Table:
  """All arms under each condition and ruleset, the best one first."""
  compared = study.comparisons[study.comparisons['reference'] == _REFERENCE]
  data = study.summary.merge(compared, how='left', on=IDENTITY)
  data = data.rename(columns=_NAMES)
  data[_SCALED] *= 100
  data['family'] = data['arm'].map(families.of)
  data['measure'] = data['condition'].map(
    {x.name: accuracies.compared(x.task) for x in study.conditions.values()}
  )
  found = accuracies.compared_in(study)
  name = accuracies.common(found)
  timed = any(each.target is not None for each in study.conditions.values())
  groups = ('condition', 'ruleset')
  return Table(
    name.capitalize(),
    _note(found) + _TIMES * timed,
    best_first(data, 'accuracy_percent', groups)[[*_FIELDS]],
    _columns(name, timed),
    # What is compared follows from the condition.
    split=(*groups, *(['measure'] if len(found) > 1 else [])),
  )


def _note(found: list[str]) -> str:
  name = accuracies.common(found)
  if name == accuracies.TEST:
    return f'Test accuracy after the last epoch{_NOTE}'
  return f'{name.capitalize()}{_NOTE}{accuracies.meaning(found)}'


def _columns(accuracy: str, timed: bool) -> tuple[Column, ...]:
  times = (
    numeric('steps to target', 'steps_to_target', numbers.count),
    numeric('seconds to target', 'seconds_to_target', numbers.short),
  )
  return (
    plain('arm'),
    Column(f'{accuracy} (%)', _accuracy, 'accuracy_percent'),
    Column(
      'seeds',
      lambda row: numbers.of(row['seeds'], row['seeds_planned']),
      'seeds',
    ),
    numeric('diverged', 'seeds_diverged', str),
    Column(
      f'difference to {_REFERENCE} (points)', _difference, 'difference_points'
    ),
    numeric('p (Holm)', 'p_holm', numbers.p_value),
    *(times if timed else ()),
  )


def _accuracy(row: Row) -> str:
  if not row['seeds']:
    return 'missing'
  text = numbers.spread(row['accuracy_percent'], row['sd_percent'])
  lost = row['seeds_diverged'] == row['seeds']
  return f'diverged: {text}' if lost else text


def _difference(row: Row) -> str:
  if row['arm'] == _REFERENCE:
    return 'reference'
  return numbers.difference(
    *(row[f'{x}_points'] for x in ('difference', 'ci_low', 'ci_high'))
  )
