"""Names beside the ends of lines, instead of a legend."""

from collections.abc import Sequence

from matplotlib.axes import Axes
import numpy as np
from scipy import optimize

from experiments.reporting import numbers
from experiments.reporting.plots import style

_LINE = 11.0  # Points, of a line of text.


def draw(
  axes: Axes, labels: Sequence[tuple[str, float, float, str]], height: float
) -> None:
  """Writes names at the right of the axes, none over another.

  Args:
    axes: whose limits are final.
    labels: the names, where along x and y the lines end, and their colours. A
      label says where its line ends if that is below the axes.
    height: of the axes, about, in points.
  """
  low, high = axes.get_ylim()
  ends = [float(np.clip(y, low, high)) for _, _, y, _ in labels]
  places = spread([(y - low) / (high - low) for y in ends], _LINE / height)
  for (text, x, y, colour), end, place in zip(
    labels, ends, places, strict=True
  ):
    axes.annotate(
      text if y >= low else f'{text} ▼ {numbers.fixed(y, 1)}',
      xy=(x, end),
      xytext=(1.07, place),
      textcoords='axes fraction',
      va='center',
      fontsize=style.SMALL,
      color=colour,
      annotation_clip=False,
      arrowprops={
        'arrowstyle': '-',
        'color': colour,
        'linewidth': 0.5,
        'relpos': (0.0, 0.5),
        'shrinkA': 1,
        'shrinkB': 2,
      },
    )


def spread(places: Sequence[float], gap: float) -> list[float]:
  """Moves places apart by a gap, as little as can be, keeping their order.

  They are from 0 to 1 if they fit.
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
