"""Tables and pictures of what optimizers cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from experiments import optimizers
from experiments.costs import compiling
from experiments.costs.measuring import Row
from experiments.optimizers.rivals import REFERENCE
from experiments.reporting import numbers
from experiments.reporting import terminal
from experiments.reporting.plots import saving
from experiments.reporting.plots import style


def _reference(rows: Sequence[Row]) -> Row:
  return next(row for row in rows if row['name'] == REFERENCE)


def measured(title: str, rows: Sequence[Row]) -> Table:
  """The table of programs that were measured side by side."""
  other = _reference(rows)
  return terminal.table(
    title,
    (
      *('optimizer', 'step', '÷ AdamW', 'state', 'accessed', '÷ AdamW'),
      *('compile', '÷ AdamW'),
    ),
    [
      (
        row['name'],
        _time(row['seconds']),
        f'{row["ratio"]:.2f}',
        _megabytes(row['state_bytes']),
        _megabytes(row['bytes_accessed']),
        # XLA may not count them.
        _ratio(row['bytes_accessed'], other['bytes_accessed'], 2),
        f'{row["compile_seconds"]:.1f} s',
        _ratio(row['compile_seconds'], other['compile_seconds'], 1),
      )
      for row in rows
    ],
  )


def compile_times(title: str, rows: Sequence[Row]) -> Table:
  """The table of compile times by the number of leaves."""
  other = _reference(rows)['seconds']
  headings, cells = ['optimizer'], [[row['name']] for row in rows]
  for count in other:
    headings += [f'{count} leaves', '÷ AdamW']
    for row, own in zip(rows, cells, strict=True):
      seconds = row['seconds'][count]
      own += [f'{seconds:.2f} s', _ratio(seconds, other[count], 1)]
  return terminal.table(title, headings, cells)


def looped(title: str, rows: Sequence[Row]) -> Table:
  """The table of steps alone and in a loop."""
  return terminal.table(
    title,
    ('model', 'alone', 'in the loop', '÷ alone'),
    [
      (
        row['name'],
        _time(row['alone_seconds']),
        _time(row['loop_seconds']),
        f'{row["ratio"]:.2f}',
      )
      for row in rows
    ],
  )


def streamed(title: str, rows: Sequence[Row]) -> Table:
  """The table of tasks of streams, beside ordinary training."""
  return terminal.table(
    title,
    (
      *('stream', 'updates', 'ordinary', 'stream', '÷ ordinary', 'measured'),
      '÷ stream',
    ),
    [
      (
        row['name'],
        str(row['updates']),
        _time(row['plain_seconds']),
        _time(row['stream_seconds']),
        f'{row["ratio"]:.2f}',
        _time(row['measured_seconds']),
        f'{row["measures_ratio"]:.2f}',
      )
      for row in rows
    ],
  )


def compiled(title: str, rows: Sequence[Row]) -> Table:
  """The table of compiled programs."""
  names = compiling.COLLECTIVES
  reference = {
    (row['model'], row['program']): row['bytes_accessed']
    for row in rows
    if row['arm'] == REFERENCE
  }
  needed = 'argument_bytes', 'temporary_bytes', 'peak_bytes', 'bytes_accessed'
  cells = []
  for row in rows:
    other = reference.get((row['model'], row['program']))
    found = [f'{n} {names[x]}' for x, n in row['collectives'].items() if n]
    cells.append(
      (
        f'{row["model"]}, {row["parameters"] / 1e6:.1f} M',
        row['program'],
        row['arm'],
        *(f'{row[x] / 2**20:.1f} MiB' for x in needed),
        _ratio(row['bytes_accessed'], other, 2),
        ', '.join(found) or 'none',
      )
    )
  return terminal.table(
    title,
    (
      *('model', 'program', 'optimizer', 'arguments', 'temporaries', 'peak'),
      *('accessed', '÷ AdamW', 'collectives'),
    ),
    cells,
    texts=(0, 1, 2, 8),
    caption='collectives: '
    + ', '.join(f'{short} {kind}' for kind, short in names.items()),
  )


def _ratio(x: float, reference: float | None, digits: int) -> str:
  return f'{x / reference:.{digits}f}' if reference else numbers.NONE


def _time(seconds: float) -> str:
  return f'{seconds:.2f} s' if seconds >= 1 else f'{1e3 * seconds:.2f} ms'


def _megabytes(count: float | None) -> str:
  return f'{count / 1e6:.1f} MB' if count else numbers.NONE


def draw(tables: Mapping[str, Sequence[Row]], path: Path) -> None:
  """Draws the ratios to AdamW into a PNG file, a panel for each table."""
  with style.plain():
    figure = Figure(figsize=(4.6 * len(tables), 5.2), layout='constrained')
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, rows) in zip(panels, tables.items(), strict=True):
      _panel(axes, rows)
      axes.set_title(title, fontsize=10)
    figure.suptitle('Blue: NeuroPlastic and its variants. Grey: rivals.')
    saving.save(figure, path, dpi=100)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
  ratios = [row['ratio'] for row in rows]
  colours = {True: style.COLOURS[0], False: '#999999'}
  bars = axes.barh(
    [row['name'] for row in rows],
    ratios,
    color=[colours[_is_ours(row['name'])] for row in rows],
  )
  axes.bar_label(bars, [f'{ratio:.2f}' for ratio in ratios], padding=3)
  axes.axvline(1, color='black', linewidth=0.8)
  axes.set_xscale('log', base=2)
  axes.xaxis.set_major_formatter('{x:g}')
  axes.set_xlim(min([0.5, *ratios]) * 0.9, max(ratios) * 3)
  axes.invert_yaxis()
  axes.set_xlabel("median time ÷ AdamW's (log scale)")


def _is_ours(name: str) -> bool:
  """Whether an optimizer, as `NAME+suffix`, is NeuroPlastic or a variant."""
  return optimizers.ARMS[name.partition('+')[0]].alpha_bounds is not None
