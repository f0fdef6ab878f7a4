"""The page of a report: one file that needs nothing else."""

import base64
from collections.abc import Sequence
import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe

from experiments.reporting.figures import Kind
from experiments.reporting.figures import words
from experiments.reporting.page import inline
from experiments.reporting.page import state
from experiments.reporting.tables import Column
from experiments.reporting.tables import Table
from experiments.studies.reading import Published

_HERE = Path(__file__).parent
_TEMPLATE, _STYLE, _SCRIPT = 'page.html', 'page.css', 'page.js'


class Picture(NamedTuple):
  """A picture that was drawn.

  Attributes:
    name: of its files.
    alt: what it shows.
    svg: as a file.
  """

  name: str
  alt: str
  svg: str

  @property
  def markup(self) -> markupsafe.Markup:
    """The element of the page."""
    # Matplotlib made it, and ElementTree has escaped what is in it.
    return markupsafe.Markup(inline.inline(self.svg, self.name, self.alt))


def page(
  study: Published,
  tables: Sequence[Table],
  pictures: Sequence[tuple[Kind, Sequence[Picture]]],
) -> str:
  """The page.

  Args:
    study: the study.
    tables: all of them.
    pictures: of each kind, in order.

  Returns:
    HTML.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters['key'] = _key
  script = (_HERE / _SCRIPT).read_text()
  digest = hashlib.sha256(script.encode()).digest()
  return environment.get_template(_TEMPLATE).render(
    study=study,
    tables={table.name: table for table in tables},
    pictures=pictures,
    words=words,
    absent=[
      (kind.title, reason)
      for kind, drawn in pictures
      if not drawn and (reason := words(kind.absent, study))
    ],
    sentences=list(state.sentences(study)),
    provenance=state.provenance(study),
    style=markupsafe.Markup((_HERE / _STYLE).read_text()),
    script=markupsafe.Markup(script),
    script_hash=base64.b64encode(digest).decode(),
  )


def _key(row: Any, column: Column) -> str:
  """What a row is sorted by, as JavaScript reads numbers; empty for nothing."""
  assert column.key is not None
  value = float(column.key(row))
  if math.isnan(value):
    return ''
  if math.isinf(value):
    return 'Infinity' if value > 0 else '-Infinity'
  return repr(value)
