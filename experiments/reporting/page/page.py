"""The page of a report: one file that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import jinja2
import markupsafe

from experiments.reporting.figures import Kind
from experiments.reporting.figures import words
from experiments.reporting.page import state
from experiments.reporting.plots import saving
from experiments.reporting.tables import Table
from experiments.studies.loading import Published

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
    return markupsafe.Markup(saving.element(self.svg, self.name, self.alt))


def page(
  study: Published,
  tables: Mapping[str, Table],
  pictures: Mapping[Kind, Sequence[Picture]],
  left_out: Mapping[str, str],
) -> str:
  """Makes the page.

  Args:
    study: the study.
    tables: by name.
    pictures: of each kind, in order.
    left_out: the titles of kinds that are not there, with the reasons.

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
  script = (_HERE / _SCRIPT).read_text(encoding='utf-8')
  digest = hashlib.sha256(script.encode()).digest()
  return environment.get_template(_TEMPLATE).render(
    study=study,
    tables=tables,
    pictures=pictures,
    words=words,
    left_out=left_out,
    sentences=list(state.sentences(study)),
    provenance=state.provenance(study),
    style=markupsafe.Markup((_HERE / _STYLE).read_text(encoding='utf-8')),
    script=markupsafe.Markup(script),
    script_hash=base64.b64encode(digest).decode(),
  )


def _key(value: float) -> str:
  """A number as JavaScript reads it; empty where there is none."""
  if math.isnan(value):
    return ''
  if math.isinf(value):
    return 'Infinity' if value > 0 else '-Infinity'
  return repr(float(value))
