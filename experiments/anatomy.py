r"""Takes the steps of optimizers apart, where a task of a stream begins.

  python -m experiments.anatomy --config.stream=permuted_labels \
    --config.dataset=fashion_mnist --config.arms=sgd,full_no_clip --tasks=50,60

It trains as `experiments.train` does, with the same settings, and looks at
every update from --before the start of some tasks to --after it. Into --workdir
it writes `steps.csv`, a row for each of these updates and tensor: the size of
gradient and step, the share of the elements that carry them, and how unequal
the rates of the elements are; `rates.csv`, what gradients of each size are
multiplied by; `anatomy.png`, a picture of both; and `anatomy.json`, the
settings and versions. Nothing is saved on the way, and nothing is resumed.
"""

from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import Any

from absl import flags
import pandas as pd

from experiments import errors
from experiments import files
from experiments import program
from experiments.configs.default import Config
from experiments.reporting.plots import anatomy as picture
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.training import engine
from experiments.training import mapping
from experiments.training import provenance
from experiments.training import run as runs
from experiments.training import single_steps
from experiments.training.stream_engine import StreamTrainer

STEPS, RATES = 'steps.csv', 'rates.csv'
PICTURE, MADE_BY = 'anatomy.png', 'anatomy.json'
_AFTER = 100


def define_flags() -> None:
  """Defines the flags."""
  program.define_config('default')
  program.define_folder('workdir', 'Where the files go. Default: anatomy.')
  program.define_data_dir()
  flags.DEFINE_list(
    'tasks', None, 'At whose start to look, from 2. Default: the last three.'
  )
  flags.DEFINE_integer('before', 20, 'Updates before it.', lower_bound=0)
  flags.DEFINE_integer(
    'after',
    None,
    f'Updates from it on. Default: {_AFTER}, or what is left of a task.',
    lower_bound=1,
  )


def _looked_at(config: Config, updates: int) -> dict[str, Any]:
  """The steps to look at, as the flags say, for `single_steps.observe`.

  Raises:
    InvalidValueError: there are no such tasks, or they are too short.
  """
  flag = flags.FLAGS
  places = range(2, config.length + 1)
  given = flag.tasks
  if given is None:
    given = [str(x) for x in places[-3:]]
  tasks = sorted({int(x) for x in given if x.isdecimal()})
  if not {*tasks} <= {*places} or not 0 < len(tasks) == len(given):
    raise errors.InvalidValueError(
      f'--tasks must be some of 2 to {config.length}, each once, got '
      f'{",".join(given)!r}.'
    )
  after = flag.after
  if after is None:
    after = max(1, min(_AFTER, updates - flag.before))
  if flag.before + after > updates:
    raise errors.InvalidValueError(
      f'--before and --after together must be at most {updates}, the updates '
      f'of a task, got {flag.before} and {after}.'
    )
  return {'tasks': tasks, 'before': flag.before, 'after': after}


def main(_: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  config = Config.resolve(given.config)
  if not config.stream:
    raise errors.InvalidValueError(
      'config.stream must name a stream, whose tasks follow one another; got '
      "''."
    )
  dataset = runs.load(config, given.data_dir)
  workdir = Path(given.workdir or 'anatomy')
  run = runs.Run(config, dataset, workdir)
  looked_at = _looked_at(config, run.context.steps_per_epoch)
  workdir.mkdir(parents=True, exist_ok=True)
  console = program.console()
  pixels = mapping.replicate(engine.to_device(dataset), config.seeds)
  steps: list[dict[str, Any]] = []
  rates: list[dict[str, Any]] = []
  for arm in config.arms:
    trainer = run.trainer(arm)
    assert isinstance(trainer, StreamTrainer)
    observed = list(
      single_steps.observe(trainer, run.trials(arm), pixels, **looked_at)
    )
    steps += single_steps.step_rows(arm, observed)
    rates += single_steps.rate_rows(arm, observed)
    console.print(f'{arm}: {len(observed)} steps taken apart', soft_wrap=True)
  files.write_json(
    workdir / MADE_BY,
    {'config': dataclasses.asdict(config), 'provenance': provenance.collect()},
  )
  files.write_table(workdir / STEPS, tuple(steps[0]), steps)
  files.write_table(workdir / RATES, tuple(rates[0]), rates)
  with style.plain():
    figure = picture.draw(pd.DataFrame(rates), pd.DataFrame(steps), run.title)
    saving.save(figure, workdir / PICTURE)
  console.print(f'{STEPS}, {RATES} and {PICTURE} are in {workdir}')


if __name__ == '__main__':
  define_flags()
  program.run(main)
