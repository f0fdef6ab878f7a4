"""What a kind of picture is: a study may have several pictures of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools
import re
from typing import NamedTuple

from matplotlib.figure import Figure
import pandas as pd

from experiments.reporting.plots import lines
from experiments.studies.loading import Published
from experiments.studies.scores import IDENTITY


class Drawing(NamedTuple):
  """A picture.

  Its parts, such as a condition, tell it from the others of its kind; `alt`
  says what it shows for those who do not see it.
  """

  parts: tuple[str, ...]
  alt: str
  make: Callable[[], Figure]


Draw = Callable[[Published], Iterator[Drawing]]
# The same for all studies, or made of the study.
Words = str | Callable[[Published], str]


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of picture.

  Attributes:
    name: of its files.
    place: kinds stand in a report in this order.
    title: what it shows.
    note: how to read it; see `words`.
    absent: what is said where a study has none; see `words`. It is empty where
      nobody would look for one.
    draw: yields the pictures of a study.
  """

  name: str
  place: int
  title: str
  note: Words
  absent: Words
  draw: Draw


KINDS: dict[str, Kind] = {}


def register(
  place: int, title: str, note: Words, absent: Words
) -> Callable[[Draw], Draw]:
  """Registers a function, by its name, that draws a kind of picture."""

  def decorate(draw: Draw) -> Draw:
    name = draw.__name__
    KINDS[name] = Kind(name, place, title, note, absent, draw)
    return draw

  return decorate


def of_lines(
  study: Published,
  parts: tuple[str, ...],
  alt: str,
  found: Mapping[str, lines.Line],
  scale: lines.Scale,
  title: str,
) -> Drawing:
  """A picture of the lines of all arms, in panels by family."""
  make = functools.partial(lines.draw, found, study.arms, scale, title)
  return Drawing(parts, alt, make)


def words(text: Words, study: Published) -> str:
  """A text of a kind, as it is for a study."""
  return text if isinstance(text, str) else text(study)


def named(
  name: str, drawings: Iterable[Drawing]
) -> Iterator[tuple[str, Drawing]]:
  """Gives every picture of a kind a file name of its own.

  Conditions may be called anything; a name of a file holds letters and digits.
  """
  used: set[str] = set()
  for drawing in drawings:
    words = [re.sub(r'[^A-Za-z0-9.-]+', '_', part) for part in drawing.parts]
    file = found = '_'.join([name, *words])[:100]
    number = 2
    while found.lower() in used:
      found, number = f'{file}_{number}', number + 1
    used.add(found.lower())
    yield found, drawing


def by_arm(
  study: Published, table: pd.DataFrame
) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
  """The rows of a table by condition and ruleset, then by arm, in its order."""
  there = dict(iter(table.groupby(IDENTITY, sort=False)))
  found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
  for key in study.summary[IDENTITY].itertuples(index=False, name=None):
    if key in there:
      found.setdefault(key[:2], {})[key[2]] = there[key]
  return found


def rulesets(study: Published) -> list[str]:
  """The rulesets of a study, in order."""
  return [*study.summary['ruleset'].unique()]
