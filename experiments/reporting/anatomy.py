"""The picture of what steps are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from experiments.reporting import pictures

Row = Mapping[str, Any]


def draw(
  rates: Sequence[Row], steps: Sequence[Row], path: Path, title: str
) -> None:
  """Draws three panels of the largest tensor and of all kernels.

  Left: what gradients of each size are multiplied by. Middle: how many elements
  carry the step, before and after a task begins. Right: the rate of each tensor
  then, in units of its mean before.

  Args:
    rates: the rows of `rates.csv`.
    steps: those of `steps.csv`.
    path: the PNG to write; it appears whole.
    title: what stands above.
  """
  figure = Figure(figsize=(13, 4.4), layout='constrained')
  left, middle, right = figure.subplots(1, 3)
  arms = list(dict.fromkeys(row['arm'] for row in rates))
  leaf = max(steps, key=lambda row: row['size'])['leaf']
  for index, arm in enumerate(arms):
    _rates(left, [x for x in rates if x['arm'] == arm], leaf, index)
    own = [x for x in steps if x['arm'] == arm]
    _carriers(middle, own, leaf, index)
  _label(left, middle, leaf)
  _layers(right, [x for x in steps if x['arm'] == arms[-1]], arms[-1])
  for axes in (middle, right):
    axes.axvline(0, color='#888888', linewidth=0.8)
    axes.set_xlabel('updates since a task began')
  for axes in (left, middle, right):
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
  figure.suptitle(title)
  pictures.save(figure, path, dpi=110)


def _rates(axes: Axes, rows: Sequence[Row], leaf: str, index: int) -> None:
  own = [row for row in rows if row['leaf'] == leaf]
  # In the middle of each bin; what few elements did is noise.
  shown = [row for row in own if row['elements'] > 1e-5]
  sizes = [row['size'] * np.sqrt(2) for row in shown]
  values = [row['rate'] for row in shown]
  axes.plot(sizes, values, label=rows[0]['arm'], **pictures.style(index))


def _carriers(axes: Axes, rows: Sequence[Row], leaf: str, index: int) -> None:
  places, values = _over_updates(rows, leaf, lambda row: row['step_carriers'])
  axes.plot(places, 100 * values, label=rows[0]['arm'], **pictures.style(index))


def _layers(axes: Axes, rows: Sequence[Row], arm: str) -> None:
  leaves = list(dict.fromkeys(row['leaf'] for row in rows))
  for index, leaf in enumerate(leaves):
    places, values = _over_updates(rows, leaf, _rate)
    before = values[places < 0].mean() if (places < 0).any() else values[0]
    axes.plot(places, values / before, label=leaf, **pictures.style(index))
  axes.set_ylabel('rms(Δw) / rms(g), 1 before it began')
  axes.set_title(f'rate of each tensor in {arm}')


def _rate(row: Row) -> float:
  return row['step_rms'] / row['gradient_rms'] if row['gradient_rms'] else 0.0


def _over_updates(
  rows: Sequence[Row], leaf: str, value: Any
) -> tuple[np.ndarray, np.ndarray]:
  """Of each place in a window, the mean over the tasks."""
  found: dict[int, list[float]] = {}
  for row in rows:
    if row['leaf'] == leaf:
      found.setdefault(row['update'], []).append(value(row))
  places = np.array(sorted(found))
  return places, np.array([np.mean(found[place]) for place in places])


def _label(left: Axes, middle: Axes, leaf: str) -> None:
  left.set_xscale('log', base=2)
  left.set_yscale('log')
  left.set_xlabel('|g| / rms(g)')
  left.set_ylabel('|Δw| / |g|')
  left.set_title(f'rate of small and large gradients in {leaf}')
  middle.set_ylabel('elements that carry the step (%)')
  middle.set_ylim(bottom=0)
  middle.set_title(f'width of the step in {leaf}')
