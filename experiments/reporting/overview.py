"""The one picture of a run: how well it learned, and what α did meanwhile."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.reporting import alpha
from experiments.reporting import curves
from experiments.reporting import pictures
from experiments.training.records import History


def draw(
  histories: Mapping[str, History],
  arm: str,
  bounds: tuple[float, float],
  path: Path,
  title: str,
) -> None:
  """Draws the test accuracy of all arms, beside the distribution of α of one.

  Args:
    histories: by arm.
    arm: the one whose α is drawn.
    bounds: its α_min and α_max.
    path: the PNG to write; it appears whole.
    title: what stands above.
  """
  figure = Figure(figsize=(11, 4.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  curves.accuracy(left, histories)
  left.set_title('test accuracy')
  alpha.distribution(right, histories[arm].diagnostics, bounds)
  right.set_title(f'distribution of α in {arm}, all layers')
  right.set_xlabel('epoch')
  right.xaxis.set_major_locator(MaxNLocator(integer=True))
  figure.suptitle(title)
  pictures.save(figure, path, dpi=120)
