r"""Trains one configuration: its arms, all seeds, on one data set.

  python -m experiments.train
  python -m experiments.train --config.dataset=fashion_mnist \
    --config.arms=full,gradient_only,adam
  python -m experiments.train --config.stream=permuted_inputs \
    --config.arms=sgd,full

With no flags: NeuroPlastic and its gradient-only ablation on the embedded
digits. The run directory holds the metrics, results, pictures and checkpoints.
A run that was killed at any moment resumes with the same command, with the same
result as an uninterrupted run.

--helpfull lists every --config setting; `experiments/configs/default.py` says
what they mean.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
from pathlib import Path

from absl import flags
import jax

from experiments import errors
from experiments import program
from experiments.configs import fields
from experiments.configs.default import Config
from experiments.reporting.console import Reporter
from experiments.training import distributed
from experiments.training import run


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  program.define_config('default')
  program.define_folder(
    'workdir',
    'The run directory. Default: runs/, then a name made from the settings.',
  )
  program.define_data_dir()
  flags.DEFINE_bool(
    'resume', True, 'Resume the run in --workdir; --noresume refuses to.'
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Delete the run in --workdir and start again.'
  )
  flags.DEFINE_bool(
    'distributed',
    False,
    'Join a run of several processes. On Cloud TPU and under Slurm JAX finds '
    'the other processes; elsewhere give the three flags below.',
  )
  flags.DEFINE_string(
    'coordinator_address', None, 'host:port of the first process.'
  )
  flags.DEFINE_integer(
    'num_processes',
    None,
    'How many processes there are.',
    lower_bound=1,
    upper_bound=fields.MOST,
  )
  flags.DEFINE_integer(
    'process_id',
    None,
    'The index of this process, from 0.',
    lower_bound=0,
    upper_bound=fields.MOST,
  )


def default_workdir(config: Config) -> Path:
  """A directory that other configurations do not share."""
  # Whatever a run can be resumed with leads to the same directory.
  settings = {
    name: value
    for name, value in dataclasses.asdict(config).items()
    if not fields.is_free(Config, name)
  }
  text = json.dumps(settings, sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  parts = [config.dataset.replace(':', '_'), config.model, digest]
  if config.stream:
    parts.insert(0, config.stream)
  return Path('runs') / '-'.join(parts)


def main(_: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  try:
    distributed.initialize(
      enabled=given.distributed,
      coordinator_address=given.coordinator_address,
      num_processes=given.num_processes,
      process_id=given.process_id,
    )
    config = Config.resolve(given.config)
    observer = run.Observer()
    if distributed.is_primary():
      observer = Reporter(program.console())
    run.train(
      config,
      Path(given.workdir or default_workdir(config)),
      observer,
      data_dir=given.data_dir,
      resume=given.resume,
      overwrite=given.overwrite,
    )
  except (errors.UserError, ValueError, jax.errors.JaxRuntimeError) as e:
    distributed.leave_if_lost(e)
    raise


if __name__ == '__main__':
  define_flags()
  program.run(main)
