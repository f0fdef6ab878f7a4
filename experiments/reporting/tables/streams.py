"""How well the arms learn streams, and what they remember of their tasks."""

from collections.abc import Sequence

import pandas as pd

from experiments.reporting import quantities
from experiments.reporting.tables import table
from experiments.studies import frames
from experiments.studies import statistics
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY

_GROUP = ('condition', 'ruleset')
_STREAMS = (
  'Mean ± standard deviation over the seeds that stayed finite. Online '
  'accuracy scores each batch before it is learned: of all tasks, of the '
  'first and of the last tenth of them; the difference of these two is below '
  'zero where the ability to learn was lost. Plasticity (the share of the '
  'loss on a batch that its update takes away), dead units and the effective '
  'rank of the last hidden layer are means over the tasks; ‖w‖ is the norm '
  'of the parameters after the last task.'
)
_GAP = (
  ' The gap is how much more accurate Adam is, on every tenth task, if it '
  'begins that task with a new network, over the seeds that both have; the '
  'reference is the condition with a restart.'
)
_SPLITS = (
  'Of splits, after the last task: mean ± standard deviation over the seeds '
  'that stayed finite. Average accuracy is that on all tasks. Backward '
  'transfer is what the accuracy on earlier tasks gained since each was '
  'learned, and forgetting how far it is below the best that it was before. '
  'min-ACC is the mean of the lowest accuracies that the earlier tasks had '
  'since they were learned; WC-ACC weighs it with the accuracy on the last '
  'task, as one task among all.'
)


@table.register
def streams(study: Published) -> table.Table | None:
  """All arms under each condition that is a stream, the best one first."""
  rows = study.streams
  return _table(study, rows, quantities.STREAMS, 'Streams', _STREAMS)


@table.register
def forgetting(study: Published) -> table.Table | None:
  """All arms under each condition that is a split, the best one first."""
  splits = [x.name for x in study.conditions.values() if x.splits]
  rows = study.streams[study.streams['condition'].isin(splits)]
  return _table(study, rows, quantities.SPLITS, 'Forgetting', _SPLITS)


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
  if {quantities.FIRST, quantities.LAST} <= {*wide}:
    wide[quantities.CHANGE] = wide[quantities.LAST] - wide[quantities.FIRST]
  seeds = wide.notna().any(axis=1).groupby(IDENTITY).sum()
  lost = rows[diverged].groupby(IDENTITY)['seed'].nunique()
  own = wide.groupby(IDENTITY)
  return pd.concat(
    [
      seeds.rename('seeds'),
      lost.reindex(seeds.index, fill_value=0).rename('seeds_diverged'),
      # The means of groups would round in another way.
      own.agg(lambda x: x.dropna().mean()),
      own.agg(lambda x: float(statistics.sd(x.dropna()))).add_suffix('_sd'),
    ],
    axis=1,
  ).reset_index()


def _table(
  study: Published,
  rows: pd.DataFrame,
  shown: Sequence[quantities.Quantity],
  title: str,
  note: str,
) -> table.Table | None:
  """A table, the best arms by the first quantity first; None without rows.

  Quantities that no arm has are left out.
  """
  if rows.empty:
    return None
  data = study.summary[[*IDENTITY, 'seeds_planned']]
  data = data.merge(
    measured(rows).join(_norms(study), on=IDENTITY), on=IDENTITY
  )
  known = data.columns[data.notna().any()]
  there = [each for each in shown if each.name in known]
  fields = [f'{each.name}{end}' for each in there for end in ('', '_sd')]
  if there:
    data = table.best_first(data, shown[0].name, _GROUP)
  return table.Table(
    title,
    note + _GAP * ('gap_to_fresh' in fields),
    data[[*IDENTITY, 'seeds', 'seeds_planned', 'seeds_diverged', *fields]],
    (
      table.plain('arm'),
      *map(_column, there),
      table.SEEDS._replace(text=_seeds),
    ),
    split=_GROUP,
  )


def _column(each: quantities.Quantity) -> table.Column:
  text = lambda row: each.text(row[each.name], row[f'{each.name}_sd'])
  return table.Column(each.heading, text, each.name)


def _seeds(row: table.Row) -> str:
  lost = row['seeds_diverged']
  return table.SEEDS.text(row) + (f', {lost} diverged' if lost else '')


def _norms(study: Published) -> pd.DataFrame:
  """The norm after the last task, by condition, ruleset and arm."""
  rows = study.measures
  tasks = {each.name: each.tasks for each in study.conditions.values()}
  last = rows['task'] == rows['condition'].map(tasks)
  rows = rows[last & (rows['measure'] == 'weight_norm')].set_index(IDENTITY)
  names = {'mean': quantities.NORM, 'sd': f'{quantities.NORM}_sd'}
  return rows[[*names]].rename(columns=names)
