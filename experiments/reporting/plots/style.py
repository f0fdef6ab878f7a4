"""How pictures look, whatever the user's matplotlibrc says."""

import contextlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
import matplotlib.style
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter

# Okabe and Ito's palette, told apart by the colour-blind too; the line styles
# tell arms apart in black and white.
COLOURS = (
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#E69F00',
  '#56B4E9',
  '#000000',
)
STYLES = ('-', '--', '-.', ':')
# A colour map that the colour-blind read the same, and so does grey paper.
MAP = 'cividis'
GREY = '#bdbdbd'
TEXT = '#333333'
SMALL = 7.5
_REPORT: Any = {
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


def plain() -> contextlib.AbstractContextManager[None]:
  """Around what draws and saves a picture in Matplotlib's own style."""
  return matplotlib.style.context('default')


def report(name: str) -> contextlib.AbstractContextManager[None]:
  """The same in the style of reports; SVG's identifiers are made of a name."""
  own = _REPORT | {'svg.hashsalt': name}
  return matplotlib.style.context(['default', own])


def of(index: int) -> dict[str, Any]:
  """The colour and line style of the n-th arm or leaf, from 0."""
  return {
    'color': COLOURS[index % len(COLOURS)],
    'linestyle': STYLES[index % len(STYLES)],
  }


def title(figure: Figure, text: str) -> None:
  """Writes the title of a picture in the style of reports."""
  figure.suptitle(text, x=0.01, ha='left', fontsize=11)


def legend(axes: Axes, *what: Any) -> None:
  """Writes a legend at the right of the axes."""
  beside = (1.0, 0.5)
  axes.legend(*what, loc='center left', bbox_to_anchor=beside, fontsize=SMALL)


def log_x(axes: Axes) -> None:
  """Makes the horizontal axis logarithmic, with plain numbers."""
  axes.set_xscale('log')
  _plain_numbers(axes.xaxis, LogLocator(numticks=5))


def log_y(axes: Axes) -> None:
  """Makes the vertical axis logarithmic, with plain numbers."""
  axes.set_yscale('log')
  _plain_numbers(axes.yaxis, LogLocator(subs=(1, 3), numticks=5))


def _plain_numbers(axis: Axis, locator: LogLocator) -> None:
  """Numbers on a logarithmic axis, as many as have room."""
  axis.set_major_locator(locator)
  axis.set_major_formatter(FuncFormatter(lambda x, _: f'{x:g}'))
  axis.set_minor_formatter(NullFormatter())
