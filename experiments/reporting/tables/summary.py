"""How good every arm is, and how far from the reference."""

from experiments.reporting import accuracies
from experiments.reporting import numbers
from experiments.reporting.plots import families
from experiments.reporting.tables import table
from experiments.studies import comparisons
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

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
_SCALED = [x for x in _NAMES.values() if x.endswith(('percent', 'points'))]
_DIFFERENCE = (
  '; the difference to {} in percentage points, over the seeds that '
  'both arms have, with its 95 % t interval, and the p-value of the paired t '
  'test, adjusted by Holm’s procedure over the arms of the table'
)
_TIMES = (
  ' Times are medians until the validation accuracy reaches the median of '
  f'{comparisons.REFERENCES[0]}; ∞ is a miss.'
)


def reference(study: Published) -> str | None:
  """The arm that all are compared with first; None where there is none.

  It is the usual one, if a condition of the study has it.
  """
  there = study.comparisons['reference'].unique()
  usual = (x for x in comparisons.REFERENCES if x in there)
  return next(usual, there[0] if len(there) else None)


@table.register
def summary(study: Published) -> table.Table:
  """All arms under each condition and ruleset, the best one first."""
  other = reference(study)
  compared = study.comparisons[study.comparisons['reference'] == other]
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
  columns = [
    table.plain('arm'),
    table.Column(f'{name} (%)', _accuracy, 'accuracy_percent'),
    table.SEEDS,
    table.numeric('diverged', 'seeds_diverged', str),
  ]
  if other:
    columns += [
      table.Column(
        f'difference to {other} (points)',
        lambda row: 'reference' if row['arm'] == other else _difference(row),
        'difference_points',
      ),
      table.numeric('p (Holm)', 'p_holm', numbers.p_value),
    ]
  if timed:
    columns += [
      table.numeric('steps to target', 'steps_to_target', numbers.count),
      table.numeric('seconds to target', 'seconds_to_target', numbers.short),
    ]
  groups = ('condition', 'ruleset')
  return table.Table(
    name.capitalize(),
    _note(found, other) + _TIMES * timed,
    table.best_first(data, 'accuracy_percent', groups)[[*_FIELDS]],
    columns,
    # What is compared follows from the condition.
    split=(*groups, *(['measure'] if len(found) > 1 else [])),
  )


def _note(found: list[str], other: str | None) -> str:
  name = accuracies.common(found)
  after = ' after the last epoch' if name == accuracies.TEST else ''
  difference = _DIFFERENCE.format(other) if other else ''
  return (
    f'{name.capitalize()}{after}, mean ± standard deviation over seeds'
    f'{difference}. A diverged seed counts as chance.'
    f'{accuracies.meaning(found)}'
  )


def _accuracy(row: table.Row) -> str:
  if not row['seeds']:
    return 'missing'
  text = numbers.spread(row['accuracy_percent'], row['sd_percent'])
  lost = row['seeds_diverged'] == row['seeds']
  return f'diverged: {text}' if lost else text


def _difference(row: table.Row) -> str:
  ends = ('difference', 'ci_low', 'ci_high')
  return numbers.difference(*(row[f'{x}_points'] for x in ends))
