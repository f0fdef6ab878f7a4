"""What a table of a report is: a data frame, and how a person sees it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any, NamedTuple

import pandas as pd

from experiments.reporting import numbers
from experiments.studies.loading import Published

Row = Mapping[str, Any]


class Column(NamedTuple):
  """A column, as a person sees it: its heading, and what its cells say.

  Rows are sorted by the numbers of a field, the key, or by the text.
  """

  heading: str
  text: Callable[[Row], str]
  key: str | None = None


# How many there are, of those there are to be.
SEEDS = Column(
  'seeds',
  lambda row: numbers.of(row['seeds'], row['seeds_planned']),
  'seeds',
)


def plain(heading: str, field: str | None = None) -> Column:
  """A column of texts, the field of that name or another."""
  name = field or heading
  return Column(heading, lambda row: str(row[name]))


def numeric(heading: str, field: str, text: Callable[[Any], str]) -> Column:
  """A column of numbers, each written by `text`."""
  return Column(heading, lambda row: text(row[field]), field)


@dataclasses.dataclass(frozen=True)
class Table:
  """A table: what the CSV file holds, and what a person sees of it.

  By the values of the fields of `split`, a person sees tables of their own.
  """

  title: str
  note: str
  data: pd.DataFrame
  columns: Sequence[Column]
  split: Sequence[str] = ()

  def parts(self) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """The values of the split fields, each with its rows, in order."""
    if not self.split:
      yield (), self.data.to_dict('records')
      return
    for values, rows in self.data.groupby([*self.split], sort=False):
      yield values, rows.to_dict('records')

  def csv(self) -> str:
    """The table as CSV."""
    return self.data.to_csv(index=False, na_rep='nan', lineterminator='\n')

  def markdown(self) -> str:
    """The table as GitHub's Markdown."""
    lines = [f'# {escape(self.title)}', '', escape(self.note)]
    for values, rows in self.parts():
      if values:
        lines += ['', f'## {escape(", ".join(values))}']
      lines += [
        '',
        _line(escape(column.heading) for column in self.columns),
        _line('---:' if column.key else '---' for column in self.columns),
        *(_line(escape(x.text(row)) for x in self.columns) for row in rows),
      ]
    return '\n'.join(lines) + '\n'


# None where a study has nothing for the table.
Make = Callable[[Published], Table | None]
TABLES: dict[str, Make] = {}


def register(make: Make) -> Make:
  """Registers a function that makes a table, by its name."""
  TABLES[make.__name__] = make
  return make


def best_first(data: pd.DataFrame, field: str, groups: Sequence[str]) -> Any:
  """The rows, within each group the largest of a field first and NaN last."""
  return pd.concat(
    rows.sort_values(field, ascending=False, kind='stable')
    for _, rows in data.groupby([*groups], sort=False)
  )


def escape(text: str) -> str:
  """Text that Markdown shows as it is, also in a cell of a table."""
  # An underscore within a word is no markup, and names are full of them.
  return re.sub(r'([\\`*\[\]<>|~#&$]|\b_|_\b)', r'\\\1', text)


def _line(cells: Iterable[str]) -> str:
  return f'| {" | ".join(cells)} |'
