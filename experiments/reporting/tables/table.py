"""What a table of a report is: a data frame, and how a person sees it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any, NamedTuple

import pandas as pd

from experiments.studies.loading import Published

Row = Mapping[str, Any]


class Column(NamedTuple):
  """A column, as a person sees it.

  Attributes:
    heading: what stands above.
    text: what a cell says.
    key: the field of numbers that rows are sorted by; None for the text.
  """

  heading: str
  text: Callable[[Row], str]
  key: str | None = None


def plain(heading: str, field: str | None = None) -> Column:
  """A column of texts.

  Args:
    heading: what stands above.
    field: the field that it shows; None for the one of that name.
  """
  name = field or heading
  return Column(heading, lambda row: str(row[name]))


def numeric(heading: str, field: str, text: Callable[[Any], str]) -> Column:
  """A column of numbers.

  Args:
    heading: what stands above.
    field: the field that it shows.
    text: how a number is written.
  """
  return Column(heading, lambda row: text(row[field]), field)


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    title: what it shows.
    note: how to read it.
    data: what the CSV file holds.
    columns: those that a person sees.
    split: the fields by whose values a person sees a table of its own.
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
      cells = [[column.text(row) for column in self.columns] for row in rows]
      marks = ['---:' if column.key else '---' for column in self.columns]
      lines += [
        '',
        _line(escape(column.heading) for column in self.columns),
        _line(marks),
        *(_line(map(escape, each)) for each in cells),
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
  place = data.groupby([*groups], sort=False).ngroup()
  ordered = data.sort_values(field, ascending=False, kind='stable')
  return ordered.loc[place[ordered.index].sort_values(kind='stable').index]


def escape(text: str) -> str:
  """Text that Markdown shows as it is, also in a cell of a table."""
  # An underscore within a word is no markup, and names are full of them.
  return re.sub(r'([\\`*\[\]<>|~#&$]|\b_|_\b)', r'\\\1', text)


def _line(cells: Iterable[str]) -> str:
  return f'| {" | ".join(cells)} |'
