"""Measures what an optimizer step costs, for many optimizers in one run.

  python -m experiments.benchmark
  python -m experiments.benchmark --workloads=mlp --optimizers=neuroplastic

First the time of a whole training step (batch, gradient and update), as most
people write it: a program of its own. Then that of whole training epochs. Then
an update alone, with the parameters' own update and with buffers donated. Of
each of these: its ratio to AdamW's; the bytes of the state; the bytes that the
compiled program accesses, as XLA counts them; the compile time, and that of an
update by the number of leaves. Last, for some models, the time of a training
step alone, of one within a compiled epoch (of four, divided by four), and their
ratio, which says whether the compiler does worse inside of loops. And the time
of a task of a stream, with and without its measures, beside that of as many
updates of ordinary training. For one of these alone, empty the others:

  python -m experiments.benchmark --steps= --workloads= --training= --leaves= \
    --streams= --loops=cnn,resnet18

Everything is measured in turn, round after round, and medians over rounds
are shown: machines are noisy, ratios within a round less so.

On CPUs a call of an update alone takes its temporaries from the process's
allocator. That of glibc gives large ones back to the kernel after each call,
and each time they come back page by page. The benchmark then measures page
faults, which neither a training loop nor an accelerator has. An allocator that
keeps its memory avoids this:

  LD_PRELOAD=libtcmalloc_minimal.so.4 python -m experiments.benchmark

(Debian's package libtcmalloc-minimal4). The first line says which was measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
from pathlib import Path
from typing import Any

from absl import flags

from experiments import errors
from experiments import files
from experiments import models
from experiments import optimizers
from experiments import program
from experiments.configs import fields
from experiments.costs import measuring
from experiments.costs import timing
from experiments.data import streams
from experiments.reporting import costs

_OPTIMIZERS = (
  *('neuroplastic', 'gradient_only', 'bfloat16_moments', 'controlled'),
  *('bounded', 'orthogonal', 'gain_adam', 'momentum_adam'),
  *('neuroplastic+global', 'neuroplastic+per_leaf'),
  *('sgdm', 'adamw', 'lion', 'muon', 'prodigy', 'schedule_free'),
  *('adam', 'upgd', 'shrink_and_perturb', 'classp', 'curl_descent'),
  *('consolidation', 'l2_init', 'metaplasticity', 'exponentiated_gradient'),
  *('kept_signs', 'weight_clipping', 'sleep', 'hare_and_tortoise'),
  *('normalize_and_project', 'neural_variability', 'synergy', 'adam_reset'),
)


# Flags that are lists: what there is to choose from, with which suffixes.
_KNOWN: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
  'steps': (models.MODELS, ()),
  'workloads': (models.trees(), ()),
  'optimizers': (optimizers.ARMS, measuring.UPDATE_SUFFIXES),
  'training': (optimizers.ARMS, measuring.TRAINING_SUFFIXES),
  'loops': (models.MODELS, ()),
  'streams': (streams.STREAMS, ()),
}


def _define_names(flag: str, default: Sequence[str], help_: str) -> None:
  """Defines a flag of `_KNOWN`."""
  names, suffixes = _KNOWN[flag]
  allowed = {*names, *(f'{x}+{suffix}' for x in names for suffix in suffixes)}
  flags.DEFINE_list(flag, list(default), help_)
  flags.register_validator(
    flag,
    allowed.issuperset,
    f'must be some of {", ".join(names)}'
    + ''.join(f', with or without +{suffix}' for suffix in suffixes),
  )


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  _define_names(
    'steps',
    ('cnn', 'resnet18'),
    'Models whose whole training step is measured, with the optimizers of '
    f'--training: {", ".join(models.MODELS)}. Empty for none.',
  )
  flags.DEFINE_list(
    'leaves',
    ['8', '64', '200'],
    'Numbers of leaves for which compiling an update is measured, with the '
    'optimizers of --training. Empty for none.',
  )
  flags.register_validator(
    'leaves',
    lambda given: all(x.isdecimal() and 0 < int(x) <= 10_000 for x in given),
    'must be integers from 1 to 10000',
  )
  _define_names(
    'workloads',
    ('mlp', 'resnet18', 'stack'),
    f'Parameter trees: of {", ".join(models.trees())}.',
  )
  _define_names(
    'optimizers',
    _OPTIMIZERS,
    'Which are measured besides adamw, of experiments.optimizers; +global and '
    '+per_leaf: with diagnostics at every update.',
  )
  _define_names(
    'training',
    ('adamw', 'full', 'gradient_only', 'full+diagnostics'),
    'Optimizers whose whole training epochs are measured, of the MLP at batch '
    "128, on images of Fashion-MNIST's shape; +diagnostics: as experiments."
    'train takes them, at the last update of an epoch. Empty for none.',
  )
  _define_names(
    'loops',
    ('cnn', 'resnet18'),
    'Models whose training step is measured alone and in the loop of an '
    f'epoch: {", ".join(models.MODELS)}. Empty for none.',
  )
  _define_names(
    'streams',
    ('permuted_inputs',),
    'Streams of which a task is measured beside ordinary training: '
    f'{", ".join(streams.STREAMS)}. Empty for none.',
  )
  for name, default, low, help_ in (
    ('examples', 60_000, 1, 'Training images of the epochs of --training.'),
    (
      *('stream_updates', None, 1),
      'Updates of a task of --streams; by default what the stream says.',
    ),
    ('loop_batch_size', 32, 1, 'Examples of a step of --steps and --loops.'),
    ('rounds', 200, 5, 'The maximum number of rounds, at least 5.'),
  ):
    flags.DEFINE_integer(
      name, default, help_, lower_bound=low, upper_bound=fields.MOST
    )
  flags.DEFINE_float(
    'seconds', 40.0, 'How long each workload is measured.', lower_bound=0.0
  )
  flags.register_validator(
    'seconds', lambda given: not math.isnan(given), 'must be a number ≥ 0'
  )
  program.define_folder(
    'workdir',
    'Where benchmark.json and benchmark.png go. Default: runs/benchmark.',
  )


def main(_: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  parts = 'steps', 'workloads', 'training', 'leaves', 'loops', 'streams'
  if not any(given[name].value for name in parts):
    raise errors.UserError(
      f'--{", --".join(parts[:-1])} and --{parts[-1]} leave nothing to measure.'
    )
  workdir = Path(given.workdir or 'runs/benchmark')
  workdir.mkdir(parents=True, exist_ok=True)
  console = program.wide_console()
  console.print(timing.machine())
  drawn: dict[str, list[measuring.Row]] = {}
  tables: dict[str, list[measuring.Row]] = {}
  for title, show, rows in _parts(given):
    tables[title] = rows
    console.print(show(title, rows))
    if show is costs.measured:
      drawn[title] = rows
  written = ['benchmark.json']
  if drawn:
    costs.draw(drawn, workdir / 'benchmark.png')
    written.append('benchmark.png')
  files.write_json(
    workdir / 'benchmark.json',
    {'machine': timing.machine(), 'tables': tables},
  )
  console.print(f'written to {workdir}: {", ".join(written)}')


def _parts(
  given: Any,
) -> Iterator[tuple[str, Callable[..., Any], list[measuring.Row]]]:
  """Measures each part; gives its title, its kind of table and its rows."""
  measure = functools.partial(
    timing.interleaved, seconds=given.seconds, rounds=given.rounds
  )
  plain = [name for name in given.training if '+' not in name]
  batch = given.loop_batch_size
  for name in given.steps:
    title = f'{name}: a training step at batch {batch}'
    yield title, costs.measured, measuring.steps(name, plain, batch, measure)
  if given.training:
    title = f'mlp: a training epoch of {given.examples} images'
    rows = measuring.epochs(given.training, given.examples, measure)
    yield title, costs.measured, rows
  for name in given.workloads:
    tree = models.trees()[name]
    millions = models.count(tree.params()) / 1e6
    title = f'{name}: an update of {millions:.2f} M parameters'
    rows = measuring.updates(tree, given.optimizers, measure)
    yield title, costs.measured, rows
  if given.leaves:
    title = 'compiling an update, by leaves'
    rows = measuring.compile_times([int(x) for x in given.leaves], plain)
    yield title, costs.compile_times, rows
  if given.loops:
    title = f'a training step at batch {batch}, in a loop'
    rows = [measuring.loop(name, batch, measure) for name in given.loops]
    yield title, costs.looped, rows
  if given.streams:
    title = 'a task of a stream, beside ordinary training'
    count = given.stream_updates
    rows = [measuring.stream(name, count, measure) for name in given.streams]
    yield title, costs.streamed, rows


if __name__ == '__main__':
  define_flags()
  program.run(main)
