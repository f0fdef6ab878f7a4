"""Several measures of many arms: a column a measure, a row a few arms."""

from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.reporting import quantities
from experiments.reporting.plots import families
from experiments.reporting.plots import lines as plots
from experiments.reporting.plots import style
from experiments.reporting.plots.lines import Line

_WIDTH, _HEIGHT, _LEGEND = 2.35, 1.75, 1.7  # Inches.
# So many points of a line that is only grey, and of the edges of a band.
_COARSE = 20
# Lines are left out of the limits that make the range so many times as large,
# as long as they are no more than a share of all.
_FAR, _SHARE = 8.0, 0.25
_MARGIN = 0.06


def draw(
  found: Mapping[str, Mapping[str, Line]],
  order: Sequence[str],
  lost: Collection[str],
  title: str,
) -> Figure:
  """What arms measured of a stream, task by task, in rows by family.

  `found` has the lines by measure and arm, `order` all arms of the study (see
  `lines.draw`); those that are lost, as they diverged, have a name and no line.
  """
  measures = [each for each in quantities.BY_TASK if each.name in found]
  there = {*lost}.union(*found.values())
  every = dict.fromkeys([*order, *sorted(there)])
  rows = families.panels(every, there)
  figure = Figure(
    figsize=(_WIDTH * len(measures) + _LEGEND, _HEIGHT * len(rows) + 0.6),
    layout='constrained',
  )
  axes = figure.subplots(
    len(rows), len(measures), squeeze=False, sharex=True, sharey='col'
  )
  for column, measure in zip(axes.T, measures, strict=True):
    lines = found[measure.name]
    for place in column if measure.log else ():
      style.log_y(place)
    column[0].set_ylim(*_limits(lines, log=measure.log))
    for place, (_, arms) in zip(column, rows, strict=True):
      _panel(place, lines, arms)
      place.set_ylabel(measure.heading)
    column[-1].set_xlabel('task')
  for row, (name, arms) in zip(axes, rows, strict=True):
    row[0].set_title(name)
    shown = {arm: i for i, arm in enumerate(arms) if arm in there}
    style.legend(
      row[-1],
      [Line2D([], [], **plots.appearance(i)) for i in shown.values()],
      [f'{arm} ×' if arm in lost else arm for arm in shown],
    )
  style.title(figure, title)
  return figure


def _panel(axes: Axes, lines: Mapping[str, Line], arms: Sequence[str]) -> None:
  axes.grid(axis='x', visible=False)
  axes.set_xticks(_ticks(lines))
  if axes.get_yscale() == 'linear':
    axes.yaxis.set_major_locator(MaxNLocator(4))
  # Rows share their axes, but all say what stands there.
  axes.tick_params(labelbottom=True, labelleft=True)
  others = [line for arm, line in lines.items() if arm not in arms]
  plots.draw_others(axes, [_coarse(line) for line in others])
  for i, arm in enumerate(arms):
    if arm in lines:
      plots.draw_line(axes, arm, lines[arm], i)
      _mark_end(axes, lines[arm], style.COLOURS[i])


def _ticks(lines: Mapping[str, Line]) -> list[float]:
  """A few whole numbers, the first place that there is among them."""
  every = [x for line in lines.values() for x in line.x]
  if not every:
    return []
  first, last = min(every), max(every)
  nice = MaxNLocator(4, integer=True, min_n_ticks=1).tick_values(first, last)
  return [first, *(x for x in nice if first < x <= last)]


def _coarse(line: Line) -> tuple[np.ndarray, np.ndarray]:
  """Means over neighbours, of as few points as a picture needs."""
  size = -(-len(line.x) // _COARSE)
  starts = np.arange(0, len(line.x), size)
  counts = np.diff(starts, append=len(line.x))
  x, y = (np.add.reduceat(each, starts) / counts for each in line[:2])
  return x, y


def _mark_end(axes: Axes, line: Line, colour: str) -> None:
  """An arrow where a line ends above or below what is shown."""
  there = np.flatnonzero(np.isfinite(line.y))
  low, high = axes.get_ylim()
  if len(there) and not low <= (end := line.y[there[-1]]) <= high:
    marker, place = ('^', high) if end > high else ('v', low)
    (mark,) = axes.plot(line.x[there[-1]], place, marker, color=colour)
    mark.set(markersize=5, clip_on=False, zorder=5)


def _limits(lines: Mapping[str, Line], *, log: bool) -> tuple[float, float]:
  """Vertical limits in which most can be read; few lines leave them."""
  if log:
    exponents = {
      arm: line._replace(y=np.log10(np.where(line.y > 0, line.y, np.nan)))
      for arm, line in lines.items()
    }
    low, high = _limits(exponents, log=False)
    return 10**low, 10**high
  found = [line.y[np.isfinite(line.y)] for line in lines.values()]
  ends = np.array([(x.min(), x.max()) for x in found if len(x)])
  if not len(ends):
    return 0.0, 1.0
  for _ in range(int(_SHARE * len(ends))):
    low, high = ends[:, 0].min(), ends[:, 1].max()
    # Without the line that reaches farthest, above or below.
    farthest = ends[:, 0].argmin(), ends[:, 1].argmax()
    fewer = min((np.delete(ends, i, axis=0) for i in farthest), key=_reach)
    if not 0 < _FAR * _reach(fewer) < high - low:
      break
    ends = fewer
  low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
  margin = _MARGIN * (high - low) or 1.0
  return low - margin, high + margin


def _reach(ends: np.ndarray) -> float:
  return float(ends[:, 1].max() - ends[:, 0].min())
