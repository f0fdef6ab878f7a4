"""Names beside the ends of lines, instead of a legend."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
import numpy as np
from scipy import optimize

from experiments.reporting.plots import style

_LINE = 11.0  # Points, of a line of text.


class Label(NamedTuple):
  """A name for a line.

  Attributes:
    text: the name.
    x: where the line ends.
    y: where the line ends.
    colour: of the line.
  """

  text: str
  x: float
  y: float
  colour: str


def draw(axes: Axes, labels: Sequence[Label], height: float) -> None:
  """Writes the labels at the right of the axes, none over another.

  Args:
    axes: whose limits are final.
    labels: those of lines that end within the horizontal limits. A label says
      where its line ends if that is below the axes.
    height: of the axes, about, in points.
  """
  low, high = axes.get_ylim()
  ends = [float(np.clip(label.y, low, high)) for label in labels]
  places = spread([(y - low) / (high - low) for y in ends], _LINE / height)
  for label, end, place in zip(labels, ends, places, strict=True):
    text = label.text
    if label.y < low:
      text = f'{text} ▼ {label.y:.1f}'.replace('-', '−')
    axes.annotate(
      text,
      xy=(label.x, end),
      xytext=(1.07, place),
      textcoords='axes fraction',
      va='center',
      fontsize=style.SMALL,
      color=label.colour,
      annotation_clip=False,
      arrowprops={
        'arrowstyle': '-',
        'color': label.colour,
        'linewidth': 0.5,
        'relpos': (0.0, 0.5),
        'shrinkA': 1,
        'shrinkB': 2,
      },
    )


def spread(places: Sequence[float], gap: float) -> list[float]:
  """Moves places apart as little as can be, keeping their order.

  Args:
    places: any numbers.
    gap: how far neighbours must be apart.

  Returns:
    The places, in the order given, from 0 to 1 if they fit.
  """
  if not places:
    return []
  order = np.argsort(places, kind='stable')
  steps = gap * np.arange(len(places))
  # Without the gaps between them, places must ascend.
  bare = optimize.isotonic_regression(np.array(places, float)[order] - steps).x
  moved = np.clip(bare, 0.0, max(1.0 - steps[-1], 0.0)) + steps
  found = np.empty_like(moved)
  found[order] = moved
  return found.tolist()
