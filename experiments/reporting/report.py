"""Makes a report of a study: tables, pictures, and a page with all of them."""

from collections.abc import Iterator
import os
from pathlib import Path
from typing import NamedTuple

from experiments import errors
from experiments import files
from experiments.reporting import figures
from experiments.reporting import tables
from experiments.reporting.figures import Kind
from experiments.reporting.figures import kind
from experiments.reporting.page import page
from experiments.reporting.plots import style
from experiments.reporting.plots import svg
from experiments.studies.reading import Published

PAGE, FIGURES, TABLES = 'report.html', 'figures', 'tables'


class Report(NamedTuple):
  """What a report is made of.

  Attributes:
    files: by name, their contents.
    absent: the kinds of pictures that the study has none of, though one might
      look for them.
  """

  files: dict[str, str | bytes]
  absent: list[Kind]


def make(study: Published) -> Report:
  """Makes a report; nothing is written."""
  found: dict[str, str | bytes] = {}
  made = [table for make in tables.TABLES.values() if (table := make(study))]
  for table in made:
    found[f'{TABLES}/{table.name}.md'] = table.markdown()
    found[f'{TABLES}/{table.name}.csv'] = files.table(table.fields, table.rows)
  drawn = []
  for each in sorted(figures.KINDS.values(), key=lambda x: x.place):
    own = []
    for picture, png in _pictures(each, study):
      own.append(picture)
      found[f'{FIGURES}/{picture.name}.svg'] = picture.svg
      found[f'{FIGURES}/{picture.name}.png'] = png
    drawn.append((each, own))
  found[PAGE] = page.page(study, made, drawn)
  absent = [
    each for each, own in drawn if not own and figures.words(each.absent, study)
  ]
  return Report(found, absent)


def _pictures(
  each: Kind, study: Published
) -> Iterator[tuple[page.Picture, bytes]]:
  for name, drawing in kind.named(each.name, each.draw(study)):
    with style.settings(name):
      figure = drawing.make()
      vector = svg.write(figure)
      # It is laid out; to do so again takes as long as all the rest.
      figure.set_layout_engine('none')
      yield page.Picture(name, drawing.alt, vector), style.png(figure)


def check_writable(path: Path) -> None:
  """Fails before any work where a report cannot be written.

  Args:
    path: the study directory.

  Raises:
    WritingError: it cannot be.
  """
  for folder in (path, path / FIGURES, path / TABLES):
    if not folder.exists() and folder is not path:
      continue
    if not folder.is_dir():
      raise errors.StorageError(
        f'cannot write {folder}: it is not a directory.'
      )
    if not os.access(folder, os.W_OK | os.X_OK):
      raise errors.StorageError(f'cannot write {folder}: permission denied.')
  if (path / PAGE).is_dir():
    raise errors.StorageError(f'cannot write {path / PAGE}: it is a directory.')


def write(report: Report, path: Path) -> None:
  """Writes a report into a study directory; each file appears whole.

  Args:
    report: the report.
    path: the directory.

  Raises:
    WritingError: the system refuses.
  """
  for name, content in report.files.items():
    target = path / name
    with files.writing(target):
      target.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
      files.write_bytes(target, content)
    else:
      files.write_text(target, content)
