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
  """Draws four panels; the upper ones compare the arms in the largest tensor.

  Above: what gradients of each size are multiplied by; and how many elements
  carry the step, before and after a task begins. Below, of the last arm: the
  rate of each tensor then, in units of its mean before; and how unequal the
  rates of its elements are.

  Args:
    rates: the rows of `rates.csv`.
    steps: those of `steps.csv`.
    path: the PNG to write; it appears whole.
    title: what stands above.
  """
  figure = Figure(figsize=(12, 7.5), layout='constrained')
  (by_size, width), (tensors, spread) = figure.subplots(2, 2)
  arms = list(dict.fromkeys(row['arm'] for row in rates))
  leaf = max(steps, key=lambda row: row['size'])['leaf']
  for index, arm in enumerate(arms):
    _rates(by_size, [x for x in rates if x['arm'] == arm], leaf, index)
    own = [x for x in steps if x['arm'] == arm]
    _carriers(width, own, leaf, index)
  _label_above(by_size, width, leaf)
  last = [x for x in steps if x['arm'] == arms[-1]]
  for index, leaf in enumerate(dict.fromkeys(row['leaf'] for row in last)):
    _rate_of_tensor(tensors, last, leaf, index)
    _spread(spread, last, leaf, index)
  _label_below(tensors, spread, arms[-1])
  for axes in (width, tensors, spread):
    axes.axvline(0, color='#888888', linewidth=0.8)
    axes.set_xlabel('updates since a task began')
  for axes in (by_size, width, tensors, spread):
    axes.grid(alpha=0.3)
  for axes in (width, spread):
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))
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


def _rate_of_tensor(
  axes: Axes, rows: Sequence[Row], leaf: str, index: int
) -> None:
  places, values = _over_updates(rows, leaf, _rate)
  before = values[places < 0].mean() if (places < 0).any() else values[0]
  axes.plot(places, values / before, label=leaf, **pictures.style(index))


def _spread(axes: Axes, rows: Sequence[Row], leaf: str, index: int) -> None:
  places, values = _over_updates(rows, leaf, lambda row: row['rate_spread'])
  axes.plot(places, values, label=leaf, **pictures.style(index))


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


def _label_above(by_size: Axes, width: Axes, leaf: str) -> None:
  by_size.set_xscale('log', base=2)
  rates = np.concatenate([np.ravel(x.get_ydata()) for x in by_size.lines])
  # Where elements climb, a logarithm would leave them out.
  by_size.set_yscale('log' if (rates > 0).all() else 'linear')
  by_size.set_xlabel('|g| / rms(g)')
  by_size.set_ylabel('−Δw / g')
  by_size.set_title(f'rate of small and large gradients in {leaf}')
  width.set_ylabel('elements that carry the step (%)')
  width.set_ylim(bottom=0)
  width.set_title(f'width of the step in {leaf}')


def _label_below(tensors: Axes, spread: Axes, arm: str) -> None:
  tensors.set_ylabel('rms(Δw) / rms(g), 1 before it began')
  tensors.set_title(f'rate of each tensor, {arm}')
  spread.set_ylabel('sd / mean of −Δw / g')
  spread.set_ylim(bottom=0)
  spread.set_title(f'spread of rates within each tensor, {arm}')
