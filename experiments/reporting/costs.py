"""Tables and pictures of what optimizers cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from experiments import optimizers
from experiments.costs import compiling
from experiments.costs import timing
from experiments.optimizers.rivals import REFERENCE
from experiments.reporting.plots import saving
from experiments.reporting.plots import style

_HEADINGS = (
  *('step', '÷ AdamW', 'state', 'accessed', '÷ AdamW', 'compile', '÷ AdamW'),
)


def measured(title: str, rows: Sequence[timing.Row]) -> Table:
  """The table of what was measured side by side."""
  table = Table(title=title)
  table.add_column('optimizer', no_wrap=True)
  for heading in _HEADINGS:
    table.add_column(heading, justify='right', no_wrap=True)
  reference = next(row for row in rows if row.name == REFERENCE)
  for row in rows:
    accessed = ['–', '–']
    if row.bytes_accessed and reference.bytes_accessed:
      accessed = [
        _megabytes(row.bytes_accessed),
        f'{row.bytes_accessed / reference.bytes_accessed:.2f}',
      ]
    table.add_row(
      row.name,
      _time(row.seconds),
      f'{row.ratio:.2f}',
      _megabytes(row.state_bytes),
      *accessed,
      f'{row.compile_seconds:.1f} s',
      f'{row.compile_seconds / reference.compile_seconds:.1f}',
    )
  return table


def compile_times(title: str, rows: Sequence[timing.CompileRow]) -> Table:
  """The table of compile times by the number of leaves."""
  table = Table(title=title)
  table.add_column('optimizer', no_wrap=True)
  for count in rows[0].seconds:
    for heading in (f'{count} leaves', '÷ AdamW'):
      table.add_column(heading, justify='right', no_wrap=True)
  reference = next(row for row in rows if row.name == REFERENCE)
  for row in rows:
    cells = []
    for count, seconds in row.seconds.items():
      cells.append(f'{seconds:.2f} s')
      cells.append(f'{seconds / reference.seconds[count]:.1f}')
    table.add_row(row.name, *cells)
  return table


def looped(title: str, rows: Sequence[timing.LoopRow]) -> Table:
  """The table of steps alone and in a loop."""
  table = Table(title=title)
  table.add_column('model', no_wrap=True)
  for heading in ('alone', 'in the loop', '÷ alone'):
    table.add_column(heading, justify='right', no_wrap=True)
  for row in rows:
    table.add_row(
      row.name,
      _time(row.alone_seconds),
      _time(row.loop_seconds),
      f'{row.ratio:.2f}',
    )
  return table


def streamed(title: str, rows: Sequence[timing.StreamRow]) -> Table:
  """The table of tasks of streams, beside ordinary training."""
  table = Table(title=title)
  table.add_column('stream', no_wrap=True)
  for heading in (
    *('updates', 'ordinary', 'stream', '÷ ordinary'),
    *('measured', '÷ stream'),
  ):
    table.add_column(heading, justify='right', no_wrap=True)
  for row in rows:
    table.add_row(
      row.name,
      str(row.updates),
      _time(row.plain_seconds),
      _time(row.stream_seconds),
      f'{row.ratio:.2f}',
      _time(row.measured_seconds),
      f'{row.measures_ratio:.2f}',
    )
  return table


def _time(seconds: float) -> str:
  return f'{seconds:.2f} s' if seconds >= 1 else f'{1e3 * seconds:.2f} ms'


def _megabytes(count: float) -> str:
  return f'{count / 1e6:.1f} MB'


def draw(tables: Mapping[str, Sequence[timing.Row]], path: Path) -> None:
  """Draws the ratios to AdamW into a PNG file, a panel for each table."""
  with style.plain():
    figure = Figure(figsize=(4.6 * len(tables), 5.2), layout='constrained')
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, rows) in zip(panels, tables.items(), strict=True):
      _panel(axes, rows)
      axes.set_title(title, fontsize=10)
    figure.suptitle('Blue: NeuroPlastic and its variants. Grey: rivals.')
    saving.save(figure, path, dpi=100)


def _panel(axes: Axes, rows: Sequence[timing.Row]) -> None:
  ratios = [row.ratio for row in rows]
  bars = axes.barh(
    [row.name for row in rows],
    ratios,
    color=[style.COLOURS[0] if _is_ours(x.name) else '#999999' for x in rows],
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


def compiled(title: str, rows: Sequence[compiling.Report]) -> Table:
  """The table of what was compiled."""
  table = Table(
    title=title,
    caption='collectives: '
    + ', '.join(
      f'{short} {kind}' for kind, short in compiling.COLLECTIVES.items()
    ),
  )
  for heading in ('model', 'program', 'optimizer'):
    table.add_column(heading, no_wrap=True)
  for heading in ('arguments', 'temporaries', 'peak', 'accessed', '÷ AdamW'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('collectives', no_wrap=True)
  reference = {
    (row.model, row.program): row for row in rows if row.arm == REFERENCE
  }
  for row in rows:
    other = reference.get((row.model, row.program))
    table.add_row(
      f'{row.model}, {row.parameters / 1e6:.1f} M',
      row.program,
      row.arm,
      *(
        f'{count / 2**20:.1f} MiB'
        for count in (
          row.argument_bytes,
          row.temporary_bytes,
          row.peak_bytes,
          row.bytes_accessed,
        )
      ),
      f'{row.bytes_accessed / other.bytes_accessed:.2f}' if other else '–',
      ', '.join(
        f'{n} {compiling.COLLECTIVES[kind]}'
        for kind, n in row.collectives.items()
        if n
      )
      or 'none',
    )
  return table
