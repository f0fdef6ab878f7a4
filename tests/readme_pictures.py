"""Pictures of results in the README, made from the committed tables of studies.

A comment says what a picture shows: its kind, a study, and more; the picture
follows it, and lies in the study's directory.

  lines     a name, a condition, a measure, and arms with their rulesets: the
            measure of every arm, task by task
      <!-- lines: streams online permuted_labels online_accuracy tuned/sgd,… -->
  forest    a name, a condition, a reference and arms: the paired differences
      <!-- forest: low_data forest fashion_mnist_10 adamw full,… -->

To draw all of them anew after a study was committed, run

  python -m tests.readme_pictures

A picture says of which rows it was drawn, so that a test can tell whether it
still shows what the tables say.
"""

from collections.abc import Callable, Sequence
import hashlib
import json
from pathlib import Path
import re

from matplotlib.figure import Figure
import numpy as np
from PIL import Image

from experiments.reporting import measures
from experiments.reporting.figures import forest
from experiments.reporting.figures import tasks
from experiments.reporting.plots import panels
from experiments.reporting.plots import style
from experiments.studies import reading
from experiments.studies.declarations import DEFAULT
from experiments.studies.reading import Published
from experiments.studies.reading import Row
from tests import readme_tables
from tests.readme_tables import README
from tests.readme_tables import ROOT
from tests.readme_tables import STUDIES

_BLOCK = re.compile(
  r'^<!-- (lines|forest): (.*) -->\n!\[[^\]]+\]\(([^)]+)\)$', re.MULTILINE
)

# The rows that it shows, and what draws it.
Picture = tuple[list[Row], Callable[[], Figure]]


def blocks(text: str) -> list[tuple[str, str, str]]:
  """Of each picture its kind, what the README says of it, and its path."""
  return _BLOCK.findall(text)


def path(specification: str) -> Path:
  """Where the picture lies that a comment asks for."""
  study, name, *_ = specification.split()
  return STUDIES / study / f'{name}.png'


def source(kind: str, specification: str) -> str:
  """What tells the comment and the rows of a picture from all others."""
  rows, _ = _picture(kind, specification)
  text = json.dumps([kind, specification, [dict(row) for row in rows]])
  return hashlib.sha256(text.encode()).hexdigest()


def source_of(file: Path) -> str:
  """The source that a picture was drawn from."""
  with Image.open(file) as image:
    return str(image.info['Source'])


def write(kind: str, specification: str) -> None:
  """Draws a picture and writes it."""
  _, draw = _picture(kind, specification)
  with style.settings(specification):
    png = style.png(draw(), source(kind, specification))
  path(specification).write_bytes(png)


def _picture(kind: str, specification: str) -> Picture:
  study, _, *words = specification.split()
  return _KINDS[kind](reading.read(STUDIES / study), *words)


def _lines(
  study: Published, condition: str, measure: str, arms: str
) -> Picture:
  (shown,) = (each for each in measures.MEASURES if each.name == measure)
  rows = {}
  for name in arms.split(','):
    ruleset, arm = name.split('/')
    wanted = dict(condition=condition, ruleset=ruleset, measure=measure)
    label = f'{arm}, untuned' if ruleset == DEFAULT else arm
    rows[label] = _some(study.measures, **wanted, arm=arm)

  def draw() -> Figure:
    lines = {
      label: tasks.band(
        np.array([row['task'] for row in own], float), own, shown.factor
      )
      for label, own in rows.items()
    }
    scale = panels.Scale('task', shown.label, whole=True)
    return panels.together(lines, scale, condition)

  return [row for own in rows.values() for row in own], draw


def _forest(
  study: Published, condition: str, reference: str, arms: str
) -> Picture:
  rows = [
    row
    for arm in arms.split(',')
    for row in _some(
      study.comparisons, condition=condition, reference=reference, arm=arm
    )
  ]
  drawing = forest.drawing(rows, (condition,), reference, condition)
  return rows, drawing.make


_KINDS = {'lines': _lines, 'forest': _forest}


def _some(rows: Sequence[Row], **wanted: str) -> list[Row]:
  """The rows that have some values in some columns; there must be some."""
  found = readme_tables.only(rows, **wanted)
  if not found:
    raise ValueError(f'there are no rows of {wanted}')
  return found


if __name__ == '__main__':
  for what, words, _ in blocks(README.read_text(encoding='utf-8')):
    write(what, words)
    print(path(words).relative_to(ROOT))
