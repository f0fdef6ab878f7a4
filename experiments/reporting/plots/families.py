"""Which arms belong together, for colours, panels and tables."""

from collections.abc import Collection, Iterable, Sequence
import math

from experiments import optimizers
from experiments.optimizers import mechanisms
from experiments.optimizers import rivals
from experiments.reporting.pictures import COLOURS
from experiments.studies import catalogue

NEUROPLASTIC = 'NeuroPlastic'
CONTROLS = 'controls'
SIGNALS = 'signals of α'
HYBRIDS = 'α over another optimizer'
OTHERS = 'other optimizers'
MECHANISMS = 'mechanisms of plasticity'
UNKNOWN = 'unknown arms'
FAMILIES = (
  NEUROPLASTIC, CONTROLS, SIGNALS, HYBRIDS, MECHANISMS, OTHERS, UNKNOWN,
)  # fmt: skip
# That of the optimizers without α is black: it is what all are compared with.
COLOUR = dict(
  zip(
    FAMILIES,
    (*COLOURS[:4], COLOURS[5], COLOURS[6], COLOURS[4]),
    strict=True,
  )
)
MARKER = dict(zip(FAMILIES, 'os^Ddvx', strict=True))
# More lines than this a panel does not tell apart.
_MANY = 7


def of(arm: str) -> str:
  """The family of an arm, by its name; tables may know more than the code."""
  if arm not in optimizers.ARMS:
    return UNKNOWN
  module = optimizers.ARMS[arm].build.__module__
  if module == rivals.__name__:
    return OTHERS
  if module == mechanisms.__name__:
    return MECHANISMS
  controls = (*catalogue.CONTROLS, catalogue.UNIT_RMS_SHUFFLED)
  if {arm, arm.removesuffix('_no_clip')} & set(controls):
    return CONTROLS
  if arm in (*catalogue.SIGNALS, *catalogue.UNIT_RMS_SIGNALS):
    return SIGNALS
  over_a_base = (
    *(*catalogue.HYBRIDS, *catalogue.OVER_ADAM),
    *(*catalogue.PHASES, *catalogue.SCOPES),
  )
  return HYBRIDS if arm in over_a_base else NEUROPLASTIC


def description(arm: str) -> str:
  """What an arm is, in a sentence; empty where the code does not know it."""
  found = optimizers.ARMS.get(arm)
  return found.description if found else ''


def grouped(arms: Iterable[str]) -> dict[str, list[str]]:
  """The arms by family, families in their order."""
  arms = list(arms)
  found = {name: [arm for arm in arms if of(arm) == name] for name in FAMILIES}
  return {name: each for name, each in found.items() if each}


def panels(
  arms: Iterable[str], shown: Collection[str]
) -> list[tuple[str, list[str]]]:
  """The arms in panels of a few, each with a title; none mixes families.

  Args:
    arms: all that may be drawn, so that each keeps its place among the others.
    shown: those that are; a panel without any is left out.
  """
  found = []
  for family, members in grouped(arms).items():
    parts = [x for x in _split(members) if not set(shown).isdisjoint(x)]
    for i, part in enumerate(parts, 1):
      title = f'{family} ({i} of {len(parts)})' if len(parts) > 1 else family
      found.append((title, part))
  return found


def _split(members: Sequence[str]) -> list[list[str]]:
  """Parts of about the same size."""
  parts = math.ceil(len(members) / _MANY)
  size = math.ceil(len(members) / parts)
  return [list(members[i : i + size]) for i in range(0, len(members), size)]
