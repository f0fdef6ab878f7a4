"""What all pictures have in common: colours, styles, and files."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments import files

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


def style(index: int) -> dict[str, Any]:
  """The colour and line style of the n-th arm or leaf, from 0."""
  return {
    'color': COLOURS[index % len(COLOURS)],
    'linestyle': STYLES[index % len(STYLES)],
  }


def save(figure: Figure, path: Path, *, dpi: int) -> None:
  """Writes a PNG that appears whole, in a folder that is made if need be."""
  with files.replacing(path) as temporary:
    # Not its parents: a run directory that is gone stays gone.
    path.parent.mkdir(exist_ok=True)
    figure.savefig(temporary, format='png', dpi=dpi)
