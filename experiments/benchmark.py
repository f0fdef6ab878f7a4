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

from collections.abc import Callable, Iterable, Iterator, Sequence
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


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  flags.DEFINE_list(
    'steps',
    ['cnn', 'resnet18'],
    'Models whose whole training step is measured, with the optimizers of '
    f'--training: {", ".join(models.MODELS)}. Empty for none.',
  )
  flags.DEFINE_list(
    'leaves',
    ['8', '64', '200'],
    'Numbers of leaves for which compiling an update is measured, with the '
    'optimizers of --training. Empty for none.',
  )
  flags.DEFINE_list(
    'workloads',
    ['mlp', 'resnet18', 'stack'],
    f'Parameter trees: of {", ".join(models.trees())}.',
  )
  flags.DEFINE_list(
    'optimizers',
    list(_OPTIMIZERS),
    'Which are measured besides adamw, of experiments.optimizers; +global and '
    '+per_leaf: with diagnostics at every update.',
  )
  flags.DEFINE_list(
    'training',
    ['adamw', 'full', 'gradient_only', 'full+diagnostics'],
    'Optimizers whose whole training epochs are measured, of the MLP at batch '
    "128, on images of Fashion-MNIST's shape; +diagnostics: as experiments."
    'train takes them, at the last update of an epoch. Empty for none.',
  )
  flags.DEFINE_integer(
    'examples',
    60_000,
    'Training images of those epochs.',
    lower_bound=1,
    upper_bound=fields.MOST,
  )
  flags.DEFINE_list(
    'loops',
    ['cnn', 'resnet18'],
    'Models whose training step is measured alone and in the loop of an '
    f'epoch: {", ".join(models.MODELS)}. Empty for none.',
  )
  flags.DEFINE_list(
    'streams',
    ['permuted_inputs'],
    'Streams of which a task is measured beside ordinary training: '
    f'{", ".join(streams.STREAMS)}. Empty for none.',
  )
  flags.DEFINE_integer(
    'stream_updates',
    None,
    'Updates of such a task; by default what the stream says.',
    lower_bound=1,
    upper_bound=fields.MOST,
  )
  flags.DEFINE_integer(
    'loop_batch_size',
    32,
    'Examples of such a step.',
    lower_bound=1,
    upper_bound=fields.MOST,
  )
  flags.DEFINE_float(
    'seconds', 40.0, 'How long each workload is measured.', lower_bound=0.0
  )
  flags.DEFINE_integer(
    'rounds',
    200,
    'The maximum number of rounds, at least 5.',
    lower_bound=5,
    upper_bound=fields.MOST,
  )
  program.define_folder(
    'workdir',
    'Where benchmark.json and benchmark.png go. Default: runs/benchmark.',
  )


def _check(
  flag: str,
  given: Sequence[str],
  known: Iterable[str],
  suffixes: Sequence[str] = (),
) -> None:
  """Refuses what is not measured, by the name of the flag."""
  known = list(known)
  for each in given:
    name, plus, suffix = each.partition('+')
    if name not in known or (plus and suffix not in suffixes):
      raise errors.InvalidValueError(
        f'--{flag} must be some of {", ".join(known)}'
        + (f', with or without +{" or +".join(suffixes)}' if suffixes else '')
        + f', got {each!r}.'
      )


def _counts(given: Sequence[str]) -> list[int]:
  """The numbers of leaves."""
  if not all(each.isdecimal() and 0 < int(each) <= 10_000 for each in given):
    raise errors.InvalidValueError(
      f'--leaves must be integers from 1 to 10000, got {",".join(given)!r}.'
    )
  return [int(each) for each in given]


def main(_: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  counts = _check_flags(given)
  workdir = Path(given.workdir or 'runs/benchmark')
  workdir.mkdir(parents=True, exist_ok=True)
  console = program.wide_console()
  console.print(timing.machine())
  drawn: dict[str, list[measuring.Row]] = {}
  tables: dict[str, list[measuring.Row]] = {}
  for title, show, rows in _parts(given, counts):
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


def _check_flags(given: Any) -> list[int]:
  """Refuses what cannot be measured; gives the numbers of leaves."""
  arms = optimizers.ARMS
  _check('steps', given.steps, models.MODELS)
  _check('workloads', given.workloads, models.trees())
  _check('optimizers', given.optimizers, arms, measuring.UPDATE_SUFFIXES)
  _check('training', given.training, arms, measuring.TRAINING_SUFFIXES)
  _check('loops', given.loops, models.MODELS)
  _check('streams', given.streams, streams.STREAMS)
  if math.isnan(given.seconds):
    raise errors.InvalidValueError('--seconds must be a number ≥ 0, got nan.')
  parts = 'steps', 'workloads', 'training', 'leaves', 'loops', 'streams'
  if not any(given[name].value for name in parts):
    raise errors.UserError(
      f'--{", --".join(parts[:-1])} and --{parts[-1]} leave nothing to measure.'
    )
  return _counts(given.leaves)


def _parts(
  given: Any, counts: Sequence[int]
) -> Iterator[tuple[str, Callable[..., Any], list[measuring.Row]]]:
  """Measures each part; gives its title, its kind of table and its rows."""
  limits = given.seconds, given.rounds
  plain = [name for name in given.training if '+' not in name]
  batch = given.loop_batch_size
  for name in given.steps:
    yield (
      f'{name}: a training step at batch {batch}',
      costs.measured,
      measuring.steps(name, plain, batch, *limits),
    )
  if given.training:
    yield (
      f'mlp: a training epoch of {given.examples} images',
      costs.measured,
      measuring.epochs(given.training, given.examples, *limits),
    )
  for name in given.workloads:
    tree = models.trees()[name]
    yield (
      f'{name}: an update of {models.count(tree.params()) / 1e6:.2f} M '
      'parameters',
      costs.measured,
      measuring.updates(tree, given.optimizers, *limits),
    )
  if counts:
    yield (
      'compiling an update, by leaves',
      costs.compile_times,
      measuring.compile_times(counts, plain),
    )
  if given.loops:
    yield (
      f'a training step at batch {batch}, in a loop',
      costs.looped,
      [measuring.loop(name, batch, *limits) for name in given.loops],
    )
  if given.streams:
    yield (
      'a task of a stream, beside ordinary training',
      costs.streamed,
      [
        measuring.stream(name, given.stream_updates, *limits)
        for name in given.streams
      ],
    )


if __name__ == '__main__':
  define_flags()
  program.run(main)
