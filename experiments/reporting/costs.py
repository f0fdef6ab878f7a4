"""Tables and pictures of what optimizers cost."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from experiments import optimizers
from experiments.costs import compiling
from experiments.costs.measuring import Row
from experiments.optimizers.rivals import REFERENCE
from experiments.reporting.plots import saving
from experiments.reporting.plots import style


def _table(
  title: str,
  name: str,
  rows: Sequence[Row],
  columns: Sequence[tuple[str, Callable[[Row], str]]],
) -> Table:
  """A table of rows, whose columns are a heading and the cell of a row."""
  table = Table(title=title)
  table.add_column(name, no_wrap=True)
  for heading, _ in columns:
    table.add_column(heading, justify='right', no_wrap=True)
  for row in rows:
    table.add_row(row['name'], *(cell(row) for _, cell in columns))
  return table


def _reference(rows: Sequence[Row]) -> Row:
  return next(row for row in rows if row['name'] == REFERENCE)


def measured(title: str, rows: Sequence[Row]) -> Table:
  """The table of programs that were measured side by side."""
  reference = _reference(rows)

  def relative(key: str, digits: int) -> Callable[[Row], str]:
    if not reference[key]:
      return lambda row: '–'
    return lambda row: f'{row[key] / reference[key]:.{digits}f}'

  return _table(
    title,
    'optimizer',
    rows,
    [
      ('step', lambda row: _time(row['seconds'])),
      ('÷ AdamW', lambda row: f'{row["ratio"]:.2f}'),
      ('state', lambda row: _megabytes(row['state_bytes'])),
      ('accessed', lambda row: _megabytes(row['bytes_accessed'])),
      ('÷ AdamW', relative('bytes_accessed', 2)),
      ('compile', lambda row: f'{row["compile_seconds"]:.1f} s'),
      ('÷ AdamW', relative('compile_seconds', 1)),
    ],
  )


def compile_times(title: str, rows: Sequence[Row]) -> Table:
  """The table of compile times by the number of leaves."""
  reference = _reference(rows)['seconds']

  def seconds(count: int) -> Callable[[Row], str]:
    return lambda row: f'{row["seconds"][count]:.2f} s'

  def relative(count: int) -> Callable[[Row], str]:
    return lambda row: f'{row["seconds"][count] / reference[count]:.1f}'

  columns: list[tuple[str, Callable[[Row], str]]] = []
  for count in reference:
    columns.append((f'{count} leaves', seconds(count)))
    columns.append(('÷ AdamW', relative(count)))
  return _table(title, 'optimizer', rows, columns)


def looped(title: str, rows: Sequence[Row]) -> Table:
  """The table of steps alone and in a loop."""
  return _table(
    title,
    'model',
    rows,
    [
      ('alone', lambda row: _time(row['alone_seconds'])),
      ('in the loop', lambda row: _time(row['loop_seconds'])),
      ('÷ alone', lambda row: f'{row["ratio"]:.2f}'),
    ],
  )


def streamed(title: str, rows: Sequence[Row]) -> Table:
  """The table of tasks of streams, beside ordinary training."""
  return _table(
    title,
    'stream',
    rows,
    [
      ('updates', lambda row: str(row['updates'])),
      ('ordinary', lambda row: _time(row['plain_seconds'])),
      ('stream', lambda row: _time(row['stream_seconds'])),
      ('÷ ordinary', lambda row: f'{row["ratio"]:.2f}'),
      ('measured', lambda row: _time(row['measured_seconds'])),
      ('÷ stream', lambda row: f'{row["measures_ratio"]:.2f}'),
    ],
  )


def _time(seconds: float) -> str:
  return f'{seconds:.2f} s' if seconds >= 1 else f'{1e3 * seconds:.2f} ms'


def _megabytes(count: float | None) -> str:
  return f'{count / 1e6:.1f} MB' if count else '–'


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
  bars = axes.barh(
    [row['name'] for row in rows],
    ratios,
    color=[
      style.COLOURS[0] if _is_ours(x['name']) else '#999999' for x in rows
    ],
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
  """The table of compiled programs."""
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
