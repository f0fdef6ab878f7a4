"""How well the arms learn streams, and what they remember of their tasks."""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.reporting import numbers
from experiments.reporting.tables.table import best_first
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import plain
from experiments.reporting.tables.table import register
from experiments.reporting.tables.table import Row
from experiments.reporting.tables.table import Table
from experiments.studies import frames
from experiments.studies import statistics
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

_GROUP = ('condition', 'ruleset')


class Quantity(NamedTuple):
  """A column of such a table: mean ± sd over the seeds that stayed finite.

  Attributes:
    name: of the measure.
    heading: what stands above.
    factor: what a person sees its values times.
    digits: how many behind the point.
    signed: whether a plus is written, too.
  """

  name: str
  heading: str
  factor: float = 1
  digits: int = 2
  signed: bool = False

  def text(self, row: Row) -> str:
    """What a person reads of a row with `name` and `name_sd`."""
    mean, sd = (self.factor * row[self.name + x] for x in ('', '_sd'))
    return numbers.spread(mean, sd, self.digits, sign=self.signed)


_FIRST, _LAST = 'online_accuracy_first_tenth', 'online_accuracy_last_tenth'
# Those that streams.csv does not have.
_CHANGE, _NORM = 'online_accuracy_change', 'weight_norm_at_end'
STREAMS = (
  Quantity('online_accuracy', 'online accuracy (%)', 100),
  Quantity(_FIRST, 'first tenth (%)', 100),
  Quantity(_LAST, 'last tenth (%)', 100),
  Quantity(_CHANGE, 'last − first tenth (points)', 100, signed=True),
  Quantity('gap_to_fresh', 'gap to a new network (points)', 100, signed=True),
  Quantity('plasticity', 'plasticity', digits=3),
  Quantity('dead_units', 'dead units (%)', 100, digits=1),
  Quantity('effective_rank', 'effective rank', digits=1),
  Quantity(_NORM, '‖w‖ at the end', digits=1),
)
FORGETTING = (
  Quantity('average_accuracy', 'average accuracy (%)', 100),
  Quantity('backward_transfer', 'backward transfer (points)', 100, signed=True),
  Quantity('forgetting', 'forgetting (points)', 100),
  Quantity('min_accuracy', 'min-ACC (%)', 100),
  Quantity('worst_case_accuracy', 'WC-ACC (%)', 100),
)
_OF_GAP = (
  ' The gap is how much more accurate Adam is, on every tenth task, if it '
  'begins that task with a new network, over the seeds that both have; the '
  'reference is the condition with a restart.'
)


@register
def streams(study: Published) -> Table | None:
  """All arms under each condition that is a stream, the best one first."""
  data = measured(study.streams).join(_norms(study), on=IDENTITY)
  found = _table(
    study,
    data,
    STREAMS,
    'Streams',
    'Mean ± standard deviation over the seeds that stayed finite. Online '
    'accuracy scores each batch before it is learned: of all tasks, of the '
    'first and of the last tenth of them; the difference of these two is below '
    'zero where the ability to learn was lost. Plasticity (the share of the '
    'loss on a batch that its update takes away), dead units and the effective '
    'rank of the last hidden layer are means over the tasks; ‖w‖ is the norm '
    'of the parameters after the last task.',
  )
  if found is None or 'gap_to_fresh' not in found.data:
    return found
  return dataclasses.replace(found, note=found.note + _OF_GAP)


@register
def forgetting(study: Published) -> Table | None:
  """All arms under each condition that is a split, the best one first."""
  splits = [x.name for x in study.conditions.values() if x.splits]
  return _table(
    study,
    measured(study.streams[study.streams['condition'].isin(splits)]),
    FORGETTING,
    'Forgetting',
    'Of splits, after the last task: mean ± standard deviation over the seeds '
    'that stayed finite. Average accuracy is that on all tasks. Backward '
    'transfer is what the accuracy on earlier tasks gained since each was '
    'learned, and forgetting how far it is below the best that it was before. '
    'min-ACC is the mean of the lowest accuracies that the earlier tasks had '
    'since they were learned; WC-ACC weighs it with the accuracy on the last '
    'task, as one task among all.',
  )


def measured(rows: pd.DataFrame) -> pd.DataFrame:
  """What arms measured on streams, over the seeds that stayed finite.

  Args:
    rows: of `streams.csv`.

  Returns:
    A row for each condition, ruleset and arm: how many `seeds` there are that
    stayed finite, how many diverged (`seeds_diverged`), and of every measure
    the mean and, as `NAME_sd`, the standard deviation over the former.
  """
  diverged = rows['status'] == frames.DIVERGED
  wide = (
    rows.assign(value=rows['value'].where(~diverged))
    .groupby([*IDENTITY, 'seed', 'measure'])['value']
    .first()
    .unstack()
  )
  if {_FIRST, _LAST} <= {*wide}:
    wide[_CHANGE] = wide[_LAST] - wide[_FIRST]
  lost = rows[diverged].groupby(IDENTITY)['seed'].nunique()
  found = []
  for key, own in wide.groupby(IDENTITY):
    row = dict(zip(IDENTITY, key, strict=True))
    row['seeds'] = own.notna().any(axis=1).sum()
    row['seeds_diverged'] = lost.get(key, 0)
    for name, values in own.items():
      x = values.to_numpy()
      x = x[~np.isnan(x)]
      row[name] = x.mean() if len(x) else np.nan
      row[f'{name}_sd'] = float(statistics.sd(x))
    found.append(row)
  return pd.DataFrame(found, columns=None if found else [*IDENTITY])


def _table(
  study: Published,
  data: pd.DataFrame,
  quantities: Sequence[Quantity],
  title: str,
  note: str,
) -> Table | None:
  """A table, the best arms by the first quantity first; None without rows.

  Quantities that no arm has are left out.
  """
  planned = study.summary[[*IDENTITY, 'seeds_planned']]
  data = planned.merge(data, on=IDENTITY)
  if data.empty:
    return None
  known = data.columns[data.notna().any()]
  there = [each for each in quantities if each.name in known]
  fields = [f'{each.name}{end}' for each in there for end in ('', '_sd')]
  if there:
    data = best_first(data, quantities[0].name, _GROUP)
  return Table(
    title,
    note,
    data[[*IDENTITY, 'seeds', 'seeds_planned', 'seeds_diverged', *fields]],
    (
      plain('arm'),
      *(Column(each.heading, each.text, each.name) for each in there),
      Column('seeds', _seeds, 'seeds'),
    ),
    split=_GROUP,
  )


def _seeds(row: Row) -> str:
  text = numbers.of(row['seeds'], row['seeds_planned'])
  lost = row['seeds_diverged']
  return f'{text}, {lost} diverged' if lost else text


def _norms(study: Published) -> pd.DataFrame:
  """The norm after the last task, by condition, ruleset and arm."""
  rows = study.measures
  tasks = {each.name: each.tasks for each in study.conditions.values()}
  last = rows['task'] == rows['condition'].map(tasks)
  rows = rows[last & (rows['measure'] == 'weight_norm')].set_index(IDENTITY)
  names = {'mean': _NORM, 'sd': f'{_NORM}_sd'}
  return rows[[*names]].rename(columns=names)
