"""What a table of a report is, as text, as CSV, and by parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any, NamedTuple

from experiments import discovery
from experiments.studies.reading import Published

Row = Mapping[str, Any]


class Column(NamedTuple):
  """A column, as a person sees it.

  Attributes:
    heading: what stands above.
    text: what a cell says.
    key: what rows are sorted by; None for the text.
  """

  heading: str
  text: Callable[[Row], str]
  key: Callable[[Row], float] | None = None


def plain(heading: str, field: str | None = None) -> Column:
  """A column that says what a field of the rows holds.

  Args:
    heading: what stands above.
    field: the field; None for the one of that name.
  """
  name = field or heading
  return Column(heading, lambda row: str(row[name]))


def numeric(heading: str, field: str, text: Callable[[Any], str]) -> Column:
  """A column of numbers, by which rows can be sorted.

  Args:
    heading: what stands above.
    field: the field of the rows.
    text: how a number is written.
  """
  return Column(heading, lambda row: text(row[field]), lambda row: row[field])


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    name: of its files.
    title: what it shows.
    note: how to read it.
    fields: the columns of the CSV file, names of what the rows hold.
    columns: those that a person sees.
    rows: the rows.
    split: the fields by whose values a person sees a table of its own.
  """

  name: str
  title: str
  note: str
  fields: Sequence[str]
  columns: Sequence[Column]
  rows: Sequence[Row]
  split: Sequence[str] = ()

  def parts(self) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """The values of the split fields, each with its rows, in order."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in self.rows:
      found.setdefault(tuple(row[x] for x in self.split), []).append(row)
    yield from found.items()

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
# In the order of the names of their modules.
TABLES: discovery.Registry[Make] = discovery.Registry()


def escape(text: str) -> str:
  """Text that Markdown shows as it is, also in a cell of a table."""
  # An underscore within a word is no markup, and names are full of them.
  return re.sub(r'([\\`*\[\]<>|~#&$]|\b_|_\b)', r'\\\1', text)


def _line(cells: Any) -> str:
  return f'| {" | ".join(cells)} |'
