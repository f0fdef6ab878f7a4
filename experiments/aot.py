"""Compiles the training step for a TPU slice, without a TPU.

  python -m experiments.aot --topology=v5e:4x4
  python -m experiments.aot --topology=v5e:2x2 --config.model=resnet18

The compiler for TPUs comes in the wheel `libtpu`: `pip install -e '.[tpu]'`. It
shows what a step needs of each device before a slice is rented: memory, bytes
accessed, floating-point operations and the number of collectives, for
NeuroPlastic and its rivals side by side, both of the whole training step and of
the optimizer's update alone.

The batch is split over all devices. So are the parameters, the gradients and
the optimizer's state, of tensors from `--config.min_size_to_shard` elements on.
"""

from collections.abc import Sequence
import os
from pathlib import Path

from absl import flags
import jax

from experiments import files
from experiments import program
from experiments.configs.aot import Config
from experiments.costs import compiling
from experiments.reporting import costs


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  program.define_config('aot')
  flags.DEFINE_string(
    'topology',
    'v5e:4x4',
    'The TPU slice: its generation, and its shape in chips.',
  )
  program.define_folder('workdir', 'The folder for aot.json; optional.')


def main(_: Sequence[str]) -> None:
  """The program."""
  # Whatever this machine has, it is not what is compiled for.
  jax.config.update('jax_platforms', 'cpu')
  config = Config.resolve(flags.FLAGS.config)
  workdir = flags.FLAGS.workdir
  if workdir:
    os.makedirs(workdir, exist_ok=True)
  mesh = compiling.mesh_of(flags.FLAGS.topology)
  console = program.wide_console()
  kind = mesh.devices.flat[0].device_kind
  console.print(
    f'{mesh.size} × {kind}; {config.batch_size} examples a device',
    soft_wrap=True,
  )
  rows = []
  for model in config.model:
    for arm in config.arms:
      new = compiling.reports(model, arm, config, mesh)
      seconds = sum(row['compile_seconds'] for row in new)
      console.print(f'{model}, {arm}: compiled in {seconds:.1f} s')
      rows += new
  rows.sort(key=lambda row: (config.model.index(row['model']), row['program']))
  console.print(costs.compiled(f'{flags.FLAGS.topology}, of each device', rows))
  if workdir:
    files.write_json(Path(workdir, 'aot.json'), rows)
    console.print(f'aot.json is in {workdir}')


if __name__ == '__main__':
  define_flags()
  program.run(main)
