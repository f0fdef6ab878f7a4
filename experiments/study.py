r"""Runs a study: its arms under all its conditions, tuned and at defaults.

  python -m experiments.study fashion_mnist --jobs=2
  python -m experiments.study digits --smoke

A study that was killed at any moment resumes with the same command, which
computes only the cells that are missing. The study directory holds the cells,
`study.json` (definition and provenance) and these tables: `results.csv` (every
arm, condition, ruleset and seed), `comparisons.csv` (every arm against the
references), `trials.csv` (the tuning), `curves.csv` and `alpha.csv` (validation
accuracy and α, epoch by epoch). A study of streams adds `streams.csv` (every
seed and measure), `measures.csv` (task by task) and `evaluations.csv`.

`experiments/studies/catalogue.py` declares the studies.
"""

from collections.abc import Sequence
import functools
from pathlib import Path

from absl import flags

from experiments import program
from experiments.studies import options
from experiments.studies import speeds
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.directory import CELLS
from experiments.studies.directory import speeds_of
from experiments.studies.directory import StudyDirectory
from experiments.studies.plan import Plan
from experiments.studies.running import Runner
from experiments.studies.speeds import Estimate

# All of them are started at once.
_MOST_JOBS = 1024


def define_flags() -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'workdir', None, 'The study directory. Default: studies/NAME[-smoke].'
  )
  flags.DEFINE_string(
    'data_dir',
    None,
    'The folder of prepared data sets. Default: $TFDS_DATA_DIR, or '
    '~/.cache/neuroplastic_optax/tfds.',
  )
  flags.DEFINE_bool(
    'smoke', False, 'Run the study tiny, on the digits, in a minute or two.'
  )
  flags.DEFINE_integer(
    'jobs', 1, 'How many processes compute cells.', 1, _MOST_JOBS
  )
  flags.DEFINE_string(
    'shard',
    None,
    'i/n: the i-th of n shares, for processes that share --workdir.',
  )
  flags.DEFINE_list(
    'only', None, 'The arms to run, comma-separated. Default: all.'
  )
  flags.DEFINE_list(
    'reuse',
    [],
    'Other study directories, whose cells and times of updates are taken over.',
  )


def main(names: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  study = options.study(names, smoke=given.smoke)
  arms = options.arms(study, given.only, smoke=given.smoke)
  share = options.share(given.shard, arms)
  workdir = Path('studies') / (study.name + '-smoke' * given.smoke)
  if given.workdir is not None:
    workdir = program.folder('workdir', given.workdir)
  if given.data_dir is not None:
    program.folder('data_dir', given.data_dir)
  directory = StudyDirectory(workdir, study, arms, smoke=given.smoke)
  others = options.reused(given.reuse)
  store = Store(workdir / CELLS, [other / CELLS for other in others])
  plan = Plan(study, directory.arms, store)
  load = lambda name: workers.load(name, given.data_dir)
  # What is not prepared shows before anything is written.
  for name in study.datasets:
    load(name)

  directory.claim()
  say = functools.partial(program.console().print, soft_wrap=True)
  estimate = Estimate(load, given.jobs)
  runner = Runner(
    plan,
    share,
    estimate,
    say,
    write_tables=lambda: directory.write_tables(plan),
    data_dir=given.data_dir,
  )
  say(f'{study.name}, {len(plan.arms)} arms → {workdir}')
  if stale := store.stale():
    say(f'{stale} cells are of other versions of the code: not used')
  runner.begin()
  runner.run(given.jobs)
  if directory.wants_speeds(plan):
    say('measures how long the updates of each arm take')
    known = [speeds_of(other) for other in others]
    directory.write_speeds(speeds.measure(plan, load, known))
    directory.write_tables(plan)
  runner.end()
  say(f'tables and study.json are in {workdir}')


if __name__ == '__main__':
  define_flags()
  program.run(main, positional=True, code=2)
