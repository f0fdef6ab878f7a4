"""What a step costs: our variants and their rivals, side by side in one run.

  python -m experiments.benchmark
  python -m experiments.benchmark --workloads=mlp --optimizers=neuroplastic

For each workload and optimizer: the time of a compiled update, with the
parameters' own update and with buffers donated; its ratio to AdamW's; the bytes
of the state; the bytes that the compiled program accesses, as XLA counts them;
the compile time. Then the time of whole training epochs, data and gradients and
all. Everything is measured in turn, round after round, and what is told are
medians over rounds: machines are noisy, ratios within a round less so.

On CPUs a call of an update alone takes its temporaries from the process's
allocator. That of glibc gives large ones back to the kernel after each call,
and each time they come back page by page: an optimizer with temporaries is then
measured with page faults which neither a training loop nor an accelerator has.
An allocator that keeps its memory shows the optimizer itself:

  LD_PRELOAD=libtcmalloc_minimal.so.4 python -m experiments.benchmark

(Debian's package libtcmalloc-minimal4). The first line says which was measured.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import json
from pathlib import Path
import platform
import statistics
import sys
import time
from typing import Any

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import optax
from rich.table import Table

from experiments import datasets
from experiments import engine
from experiments import figures
from experiments import models
from experiments import optimizers
from experiments import rivals
from experiments import run_directory
from experiments import terminal
from experiments import workloads

_MIN_ROUNDS = 5


@dataclasses.dataclass
class Row:
  """What was measured of one optimizer.

  Attributes:
    name: of the optimizer.
    seconds: median wall time of a step.
    ratio: median over rounds of its time to the reference's.
    state_bytes: of the optimizer's state.
    bytes_accessed: by the compiled step, as XLA counts them; None if unknown.
    compile_seconds: tracing and compilation.
  """

  name: str
  seconds: float
  ratio: float
  state_bytes: int
  bytes_accessed: float | None
  compile_seconds: float


class _Step:
  """A compiled program that is called again and again on its own results."""

  def __init__(
    self, function: Callable[..., Any], carry: Any, constants: Sequence[Any]
  ) -> None:
    self._carry = carry
    self._constants = constants
    start = time.perf_counter()
    self._compiled = (
      jax.jit(function, donate_argnums=0).lower(carry, *constants).compile()
    )
    self.compile_seconds = time.perf_counter() - start
    cost = self._compiled.cost_analysis() or {}
    self.bytes_accessed = cost.get('bytes accessed')

  def __call__(self) -> float:
    """Runs it, and gives the seconds that it took."""
    start = time.perf_counter()
    self._carry = self._compiled(self._carry, *self._constants)
    jax.block_until_ready(self._carry)
    return time.perf_counter() - start


def interleaved(
  steps: Mapping[str, Callable[[], float]], seconds: float, rounds: int
) -> dict[str, list[float]]:
  """Times of all, measured in turn.

  Args:
    steps: by name, what runs a step and gives its seconds.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    By name, a time for each round; the first round, of cold caches, is left
    out.
  """
  times: dict[str, list[float]] = {name: [] for name in steps}
  for step in steps.values():
    step()
  start = time.perf_counter()
  for done in range(rounds):
    if done >= _MIN_ROUNDS and time.perf_counter() - start > seconds:
      break
    for name, step in steps.items():
      times[name].append(step())
  return times


def measure_updates(
  workload: workloads.Workload,
  names: Iterable[str],
  seconds: float,
  rounds: int,
) -> list[Row]:
  """Measures the update of a parameter tree alone, with random gradients."""
  shapes = workload.params()

  def normal(seed: int) -> Any:
    leaves, treedef = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    values = [
      0.02 * jax.random.normal(key, leaf.shape, leaf.dtype)
      for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, values)

  gradient = jax.jit(normal, static_argnums=0)(0)
  steps, state_bytes = {}, {}
  for name in dict.fromkeys((rivals.REFERENCE, *names)):
    tx = rivals.OPTIMIZERS[name](shapes, workload.stacked_axes)
    params = jax.jit(normal, static_argnums=0)(1)
    state = jax.jit(tx.init)(params)
    state_bytes[name] = _nbytes(state)

    def step(
      carry: Any, gradient: Any, tx: optax.GradientTransformation = tx
    ) -> Any:
      params, state = carry
      updates, state = tx.update(gradient, state, params)
      return optax.apply_updates(params, updates), state

    # A weakly typed leaf of a rival's state would not fit the next call.
    strong = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state)
    steps[name] = _Step(step, (params, strong), (gradient,))
  return _rows(steps, interleaved(steps, seconds, rounds), state_bytes)


def measure_training(
  arms: Iterable[str], examples: int, seconds: float, rounds: int
) -> list[Row]:
  """Measures whole epochs of `experiments.train`, one seed each."""
  dataset = datasets.load(f'synthetic:28x28x1:10:{examples}:1000')
  batch_size = 128
  replicas = engine.make_replicas(dataset, [0])
  pixels = engine.to_device(dataset)
  setting = dataclasses.replace(
    optimizers.PUBLISHED, steps_per_epoch=-(-examples // batch_size)
  )
  steps, state_bytes = {}, {}
  for name in dict.fromkeys((rivals.REFERENCE, *arms)):
    arm_name, _, diagnostics = name.partition('+')
    arm = optimizers.ARMS[arm_name]

    def make_optimizer(
      learning_rate: jax.Array,
      setting: optimizers.Setting = setting,
      arm: optimizers.Arm = arm,
    ) -> optax.GradientTransformationExtraArgs:
      return arm.build(learning_rate, setting)

    diagnosed = dataclasses.replace(setting, diagnostics='per_leaf')
    trainer = engine.Trainer(
      dataset=dataset,
      make_model=models.MODELS['mlp'],
      make_optimizer=make_optimizer,
      make_diagnosed=(
        functools.partial(make_optimizer, setting=diagnosed)
        if diagnostics
        else None
      ),
      batch_size=batch_size,
    )
    own_replicas = replicas.at_learning_rate(arm.learning_rate)
    state = jax.jit(trainer.init)(own_replicas)
    state_bytes[name] = _nbytes(state.opt_state)

    def epoch(
      state: Any, *args: Any, trainer: engine.Trainer = trainer
    ) -> engine.TrainState:
      return trainer.train_epoch(state, *args)[0]

    steps[name] = _Step(epoch, state, (own_replicas, pixels))
  return _rows(steps, interleaved(steps, seconds, rounds), state_bytes)


def _nbytes(tree: Any) -> int:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _rows(
  steps: Mapping[str, _Step],
  times: Mapping[str, list[float]],
  state_bytes: Mapping[str, int],
) -> list[Row]:
  reference = times[rivals.REFERENCE]
  return [
    Row(
      name=name,
      seconds=statistics.median(times[name]),
      ratio=statistics.median(
        mine / other for mine, other in zip(times[name], reference, strict=True)
      ),
      state_bytes=state_bytes[name],
      bytes_accessed=step.bytes_accessed,
      compile_seconds=step.compile_seconds,
    )
    for name, step in steps.items()
  ]


_HEADINGS = ('step', '÷ AdamW', 'state', 'accessed', '÷ AdamW', 'compile')


def _table(title: str, rows: Sequence[Row]) -> Table:
  """What a person reads."""
  table = Table(title=title)
  table.add_column('optimizer', no_wrap=True)
  for heading in _HEADINGS:
    table.add_column(heading, justify='right', no_wrap=True)
  reference = next(row for row in rows if row.name == rivals.REFERENCE)
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
    )
  return table


def _time(seconds: float) -> str:
  return f'{seconds:.2f} s' if seconds >= 1 else f'{1e3 * seconds:.2f} ms'


def _megabytes(count: float) -> str:
  return f'{count / 1e6:.1f} MB'


def _draw(tables: Mapping[str, Sequence[Row]], path: Path) -> None:
  """Draws the ratios to AdamW, a panel for each table."""
  figure = Figure(figsize=(4.6 * len(tables), 5.2), layout='constrained')
  panels = figure.subplots(1, len(tables), squeeze=False)[0]
  ours = {*rivals.OURS, *optimizers.ARMS} - {*rivals.RIVALS}
  for axes, (title, rows) in zip(panels, tables.items(), strict=True):
    names = [row.name for row in rows]
    ratios = [row.ratio for row in rows]
    colours = [
      figures.COLOURS[0] if name.partition('+')[0] in ours else '#999999'
      for name in names
    ]
    bars = axes.barh(names, ratios, color=colours)
    axes.bar_label(bars, [f'{ratio:.2f}' for ratio in ratios], padding=3)
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set_xlim(min([0.5, *ratios]) * 0.9, max(ratios) * 3)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("median time ÷ AdamW's (log scale)")
  figure.suptitle('Blue: NeuroPlastic and its variants. Grey: rivals.')
  figures.save(figure, path, dpi=100)


def allocator() -> str:
  """What allocates the memory of this process, as far as can be seen."""
  maps = Path('/proc/self/maps')
  loaded = maps.read_text() if maps.exists() else ''
  for name in ('tcmalloc', 'jemalloc', 'mimalloc'):
    if f'/lib{name}' in loaded:
      return name
  return 'the system'


def _machine() -> str:
  device = jax.devices()[0]
  return (
    f'{jax.device_count()} × {device.device_kind}, {platform.machine()}, jax '
    f'{jax.__version__}, optax {optax.__version__}, memory from {allocator()}'
  )


def _choices(flag: str, given: Sequence[str], known: Iterable[str]) -> None:
  for name in given:
    if name not in known:
      sys.exit(
        f'error: --{flag} must be some of {", ".join(known)}, got {name!r}.'
      )


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  flags.DEFINE_list(
    'workloads',
    ['mlp', 'resnet18', 'stack'],
    f'Parameter trees: of {", ".join(workloads.WORKLOADS)}.',
  )
  flags.DEFINE_list(
    'optimizers', list(rivals.OPTIMIZERS), 'Which are measured, besides adamw.'
  )
  flags.DEFINE_list(
    'training',
    ['adamw', 'full', 'gradient_only', 'full+diagnostics'],
    'Arms of experiments.train whose whole training epochs are measured, of '
    "the MLP at batch 128, on images of Fashion-MNIST's shape; +diagnostics: "
    'as there, at the last update of an epoch. Empty for none.',
  )
  flags.DEFINE_integer(
    'examples', 60_000, 'Training images of those epochs.', lower_bound=1
  )
  flags.DEFINE_float(
    'seconds', 40.0, 'How long each workload is measured.', lower_bound=0.0
  )
  flags.DEFINE_integer(
    'rounds', 200, 'Rounds at most; at least 5 are made.', lower_bound=5
  )
  flags.DEFINE_string(
    'workdir', 'runs/benchmark', 'Where benchmark.json and benchmark.png go.'
  )


def main(argv: Sequence[str]) -> None:
  """The program."""
  if len(argv) > 1:
    sys.exit(f'error: unexpected arguments: {" ".join(argv[1:])}')
  _choices('workloads', flags.FLAGS.workloads, list(workloads.WORKLOADS))
  _choices('optimizers', flags.FLAGS.optimizers, list(rivals.OPTIMIZERS))
  arms = list(optimizers.ARMS)
  _choices(
    'training',
    [name.removesuffix('+diagnostics') for name in flags.FLAGS.training],
    arms,
  )
  if not flags.FLAGS.workloads and not flags.FLAGS.training:
    sys.exit('error: --workloads and --training leave nothing to measure.')
  console = terminal.wide_console()
  console.print(_machine())
  limits = flags.FLAGS.seconds, flags.FLAGS.rounds
  tables: dict[str, list[Row]] = {}

  def show(title: str, rows: list[Row]) -> None:
    tables[title] = rows
    console.print(_table(title, rows))

  for name in flags.FLAGS.workloads:
    workload = workloads.WORKLOADS[name]
    size = workloads.count(workload.params())
    show(
      f'{name}: an update of {size / 1e6:.2f} M parameters',
      measure_updates(workload, flags.FLAGS.optimizers, *limits),
    )
  if flags.FLAGS.training:
    show(
      f'mlp: a training epoch of {flags.FLAGS.examples} images',
      measure_training(flags.FLAGS.training, flags.FLAGS.examples, *limits),
    )
  workdir = Path(flags.FLAGS.workdir)
  _draw(tables, workdir / 'benchmark.png')
  run_directory.write_text(
    workdir / 'benchmark.json',
    json.dumps(
      {
        'machine': _machine(),
        'tables': {
          title: [dataclasses.asdict(row) for row in rows]
          for title, rows in tables.items()
        },
      },
      indent=2,
    )
    + '\n',
  )
  console.print(f'benchmark.json and benchmark.png are in {workdir}')


if __name__ == '__main__':
  define_flags()
  app.run(main)
