"""Makes a report of a study: tables, pictures, and a page with all of them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from experiments import files
from experiments.reporting import figures
from experiments.reporting import state
from experiments.reporting import tables
from experiments.reporting.figures import kind as kinds
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.studies.loading import Published

PAGE, FIGURES, TABLES = 'report.html', 'figures', 'tables'
# The template of the page, its style sheet and its script.
_HERE = Path(__file__).with_name('page')


class Report(NamedTuple):
  """A report: by name the contents of its files, and what is left out.

  That is, by title, why there is no picture of a kind that one may look for.
  """

  files: dict[str, str | bytes]
  left_out: dict[str, str]


class _Picture(NamedTuple):
  """A picture that was drawn: its name, what it shows, and its two files."""

  name: str
  alt: str
  svg: str
  png: bytes

  @property
  def markup(self) -> Markup:
    """The element of the page."""
    # Matplotlib made it, and ElementTree has escaped what is in it.
    return Markup(saving.element(self.svg, self.name, self.alt))


def make(study: Published) -> Report:
  """Makes a report; nothing is written."""
  found: dict[str, str | bytes] = {}
  made = {}
  for name in sorted(tables.TABLES):
    if table := tables.TABLES[name](study):
      made[name] = table
      found[f'{TABLES}/{name}.md'] = table.markdown()
      found[f'{TABLES}/{name}.csv'] = table.csv()
  drawn: dict[kinds.Kind, list[_Picture]] = {}
  left_out = {}
  for each in sorted(figures.KINDS.values(), key=lambda x: x.place):
    own = drawn.setdefault(each, [])
    try:
      own += _pictures(each, study)
    # Whatever Matplotlib meets, the tables and the other pictures are there.
    except Exception as e:
      left_out[each.title] = f'It cannot be drawn: {type(e).__name__}: {e}'
    else:
      reason = figures.words(each.absent, study)
      if not own and reason:
        left_out[each.title] = reason
    for picture in own:
      found[f'{FIGURES}/{picture.name}.svg'] = picture.svg
      found[f'{FIGURES}/{picture.name}.png'] = picture.png
  found[PAGE] = _page(study, made, drawn, left_out)
  return Report(found, left_out)


def _pictures(each: kinds.Kind, study: Published) -> Iterator[_Picture]:
  for name, drawing in kinds.named(each.name, each.draw(study)):
    with style.report(name):
      figure = drawing.make()
      vector = saving.svg(figure)
      # It is laid out; to do so again takes as long as all the rest.
      figure.set_layout_engine('none')
      yield _Picture(name, drawing.alt, vector, saving.png(figure))


def _page(
  study: Published,
  made: Mapping[str, tables.Table],
  pictures: Mapping[kinds.Kind, Sequence[_Picture]],
  left_out: Mapping[str, str],
) -> str:
  """The page: one file that needs nothing else."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters['key'] = _key
  look, script = (
    (_HERE / f'page.{ending}').read_text(encoding='utf-8')
    for ending in ('css', 'js')
  )
  digest = hashlib.sha256(script.encode()).digest()
  return environment.get_template('page.html').render(
    study=study,
    tables=made,
    pictures=pictures,
    words=figures.words,
    left_out=left_out,
    sentences=list(state.sentences(study)),
    provenance=state.provenance(study),
    style=Markup(look),
    script=Markup(script),
    script_hash=base64.b64encode(digest).decode(),
  )


def _key(value: float) -> str:
  """A number as JavaScript reads it; empty where there is none."""
  if math.isnan(value):
    return ''
  if math.isinf(value):
    return 'Infinity' if value > 0 else '-Infinity'
  return repr(float(value))


def write(report: Report, path: Path) -> None:
  """Writes a report into a study directory; each file appears whole.

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
