"""Which arms belong together: their colours, their markers, their panels."""

from collections.abc import Collection, Iterable
import math

from experiments import optimizers
from experiments.reporting.plots.style import COLOURS

UNKNOWN = 'unknown arms'
FAMILIES = (*optimizers.FAMILIES, UNKNOWN)
# That of the optimizers without α is black: it is what all are compared with.
COLOUR = dict(
  zip(FAMILIES, (*COLOURS[:4], *COLOURS[5:], COLOURS[4]), strict=True)
)
# What changes one thing of the method.
VARIANTS = FAMILIES[:3]
MARKER = dict(zip(FAMILIES, 'os^Ddvx', strict=True))
# More lines than this a panel does not tell apart.
_MANY = 7


def of(arm: str) -> str:
  """The family of an arm; tables may know more arms than the code."""
  # A run extends its name by hyperparameters: `adam, lr=0.1`.
  found = optimizers.ARMS.get(arm.partition(',')[0])
  return found.family if found else UNKNOWN


def grouped(arms: Iterable[str]) -> dict[str, list[str]]:
  """The arms by family, families in their order."""
  arms = list(arms)
  found = {name: [arm for arm in arms if of(arm) == name] for name in FAMILIES}
  return {name: each for name, each in found.items() if each}


def panels(
  arms: Iterable[str], shown: Collection[str]
) -> list[tuple[str, list[str]]]:
  """The arms in panels of a few, each with a title; none mixes families.

  Each of all arms keeps its place; a panel that shows none is left out.
  """
  found = []
  for family, members in grouped(arms).items():
    # Parts of about the same size.
    size = math.ceil(len(members) / math.ceil(len(members) / _MANY))
    parts = [members[i : i + size] for i in range(0, len(members), size)]
    parts = [x for x in parts if not set(shown).isdisjoint(x)]
    for i, part in enumerate(parts, 1):
      count = f' ({i} of {len(parts)})' if len(parts) > 1 else ''
      found.append((family + count, part))
  return found
