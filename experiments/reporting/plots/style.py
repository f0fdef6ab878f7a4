"""How the pictures of a report are drawn and written."""

from collections.abc import Iterator
import contextlib
import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter

GREY = '#bdbdbd'
TEXT = '#333333'
SMALL = 7.5
_DPI = 110
_SETTINGS: Any = {
  # Names are no mathematics, whatever they hold.
  'text.parse_math': False,
  # Text stays text: it can be read aloud, searched for and copied, and is
  # small. Verdana is as wide as DejaVu Sans, where that is not installed.
  'svg.fonttype': 'none',
  'font.sans-serif': ['DejaVu Sans', 'Verdana'],
  'font.size': 8.5,
  'axes.titlesize': 9.5,
  'axes.titlelocation': 'left',
  'axes.titleweight': 'bold',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.edgecolor': '#888888',
  'axes.labelcolor': TEXT,
  'text.color': TEXT,
  'xtick.color': TEXT,
  'ytick.color': TEXT,
  'grid.color': '#e6e6e6',
  'axes.grid': True,
  'axes.axisbelow': True,
  'lines.linewidth': 1.4,
  'lines.markersize': 4,
  'legend.frameon': False,
}


@contextlib.contextmanager
def settings(name: str) -> Iterator[None]:
  """Around what draws a picture and writes it.

  Args:
    name: of the picture, of which the identifiers within its SVG are made.

  Yields:
    Nothing.
  """
  with matplotlib.rc_context(_SETTINGS | {'svg.hashsalt': name}):
    yield


def png(figure: Figure, source: str | None = None) -> bytes:
  """The picture as PNG, the same whenever it is made.

  Args:
    figure: the picture.
    source: what the file says of its source; None for nothing.
  """
  file = io.BytesIO()
  figure.savefig(
    file,
    format='png',
    dpi=_DPI,
    metadata={'Software': None} | ({'Source': source} if source else {}),
  )
  return file.getvalue()


def log_x(axes: Axes) -> None:
  """Makes the horizontal axis logarithmic, with plain numbers."""
  axes.set_xscale('log')
  _plain(axes.xaxis, LogLocator(numticks=5))


def log_y(axes: Axes) -> None:
  """Makes the vertical axis logarithmic, with plain numbers."""
  axes.set_yscale('log')
  _plain(axes.yaxis, LogLocator(subs=(1, 3), numticks=5))


def _plain(axis: Axis, locator: LogLocator) -> None:
  """Numbers on a logarithmic axis, as many as have room."""
  axis.set_major_locator(locator)
  axis.set_major_formatter(FuncFormatter(lambda x, _: f'{x:g}'))
  axis.set_minor_formatter(NullFormatter())
