"""Makes a report of a study: tables, pictures, and a page with all of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from experiments import files
from experiments.reporting import figures
from experiments.reporting import tables
from experiments.reporting.figures import Kind
from experiments.reporting.figures import kind as kinds
from experiments.reporting.page import page
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.studies.loading import Published

PAGE, FIGURES, TABLES = 'report.html', 'figures', 'tables'


class Report(NamedTuple):
  """What a report is made of.

  Attributes:
    files: by name, their contents.
    left_out: the titles of the kinds of pictures that one might look for and
      that are not there, each with the reason.
  """

  files: dict[str, str | bytes]
  left_out: dict[str, str]


def make(study: Published) -> Report:
  """Makes a report; nothing is written."""
  found: dict[str, str | bytes] = {}
  made = {}
  for name in sorted(tables.TABLES):
    if table := tables.TABLES[name](study):
      made[name] = table
      found[f'{TABLES}/{name}.md'] = table.markdown()
      found[f'{TABLES}/{name}.csv'] = table.csv()
  drawn: dict[Kind, list[page.Picture]] = {}
  left_out = {}
  for each in sorted(figures.KINDS.values(), key=lambda x: x.place):
    own = drawn.setdefault(each, [])
    try:
      for picture, png in _pictures(each, study):
        own.append(picture)
        found[f'{FIGURES}/{picture.name}.svg'] = picture.svg
        found[f'{FIGURES}/{picture.name}.png'] = png
    # Whatever Matplotlib meets, the tables and the other pictures are there.
    except Exception as e:
      left_out[each.title] = f'It cannot be drawn: {type(e).__name__}: {e}'
    else:
      reason = figures.words(each.absent, study)
      if not own and reason:
        left_out[each.title] = reason
  found[PAGE] = page.page(study, made, drawn, left_out)
  return Report(found, left_out)


def _pictures(
  each: Kind, study: Published
) -> Iterator[tuple[page.Picture, bytes]]:
  for name, drawing in kinds.named(each.name, each.draw(study)):
    with style.report(name):
      figure = drawing.make()
      vector = saving.svg(figure)
      # It is laid out; to do so again takes as long as all the rest.
      figure.set_layout_engine('none')
      yield page.Picture(name, drawing.alt, vector), saving.png(figure)


def write(report: Report, path: Path) -> None:
  """Writes a report into a study directory; each file appears whole.

  Args:
    report: the report.
    path: the directory.

  Raises:
    StorageError: the system refuses.
  """
  for name, content in report.files.items():
    target = path / name
    with files.writing(target):
      target.parent.mkdir(exist_ok=True)
    if isinstance(content, str):
      content = content.encode()
    files.write_bytes(target, content)
