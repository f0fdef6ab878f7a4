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

from experiments import errors
from experiments import program
from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies import directory
from experiments.studies import known
from experiments.studies import speeds
from experiments.studies import workers
from experiments.studies.cells import Store
from experiments.studies.declarations import Study
from experiments.studies.plan import Plan
from experiments.studies.plan import Share
from experiments.studies.running import Runner

# All of them are started at once.
_MOST_JOBS = 1024


def define_flags() -> None:
  """Defines the flags."""
  program.define_folder(
    'workdir', 'The study directory. Default: studies/NAME[-smoke].'
  )
  program.define_data_dir()
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
    'Other study directories, whose results are taken over: cells of this '
    'version of the code, or the rows of a directory that has only tables, '
    'whatever version made them.',
  )


def _study(names: Sequence[str], *, smoke: bool) -> Study:
  """The study that the command line names, made tiny with --smoke."""
  if len(names) != 1 or names[0] not in catalogue.STUDIES:
    raise errors.InvalidValueError(
      f'NAME must be one of {", ".join(catalogue.STUDIES)}, got '
      f'{" ".join(names)!r}.'
    )
  found = catalogue.STUDIES[names[0]]
  return declarations.smoke(found) if smoke else found


def _arms(
  study: Study, only: Sequence[str] | None, *, smoke: bool
) -> tuple[str, ...]:
  """The arms of --only; without it all, or few if the study is tiny."""
  known = study.all_arms
  if only is None:
    few = tuple(arm for arm in known if arm in declarations.SMOKE_ARMS)
    return few if smoke and few else known
  if not only or len(set(only)) < len(only) or not set(only) <= set(known):
    raise errors.InvalidValueError(
      f'--only must name arms of the study {study.name}, each once, of '
      f'{", ".join(known)}; got {",".join(only)!r}.'
    )
  return tuple(only)


def _share(shard: str | None, only: tuple[str, ...]) -> Share:
  """The cells of these arms that this process computes, by --shard."""
  if shard is None:
    return Share(only)
  parts = shard.split('/')
  if len(parts) == 2 and all(part.isdecimal() for part in parts):
    index, count = map(int, parts)
    if 1 <= index <= count:
      return Share(only, index, count)
  raise errors.InvalidValueError(
    f'--shard must be i/n with 1 ≤ i ≤ n, got {shard!r}.'
  )


def _reused(names: Sequence[str]) -> list[Path]:
  """The study directories of --reuse."""
  for name in names:
    if directory.read(Path(name)) is None:
      raise errors.InvalidValueError(
        f'--reuse must name study directories, got {name!r}.'
      )
  return [Path(name) for name in names]


def main(names: Sequence[str]) -> None:
  """The program."""
  given = flags.FLAGS
  study = _study(names, smoke=given.smoke)
  arms = _arms(study, given.only, smoke=given.smoke)
  share = _share(given.shard, arms)
  workdir = Path(
    given.workdir or f'studies/{study.name}{"-smoke" * given.smoke}'
  )
  place = directory.StudyDirectory(workdir, study, arms, smoke=given.smoke)
  others = _reused(given.reuse)
  store = Store(
    workdir / directory.CELLS, [other / directory.CELLS for other in others]
  )
  tables = [
    known.Tables(other)
    for other in others
    if not (other / directory.CELLS).exists()
  ]
  plan = Plan(study, place.arms, store, tables)
  load = functools.partial(workers.load, data_dir=given.data_dir)
  # What is not prepared shows before anything is written.
  for name in study.datasets:
    load(name)

  place.claim()
  say = functools.partial(program.console().print, soft_wrap=True)
  runner = Runner(
    plan,
    share,
    speeds.Estimate(load, given.jobs),
    say,
    write_tables=lambda: place.write_tables(plan),
    data_dir=given.data_dir,
  )
  say(f'{study.name}, {len(plan.arms)} arms → {workdir}')
  if stale := store.stale():
    say(f'{stale} cells are of other versions of the code: not used')
  runner.begin()
  runner.run(given.jobs)
  if unmeasured := speeds.unmeasured(plan, place.speeds()):
    say('measures how long the updates of each arm take')
    measured = {
      kind: speeds.measure(task, arms, load)
      for kind, (task, arms) in unmeasured.items()
    }
    place.write_tables(plan, measured)
  say(f'tables and study.json are in {workdir}')


if __name__ == '__main__':
  define_flags()
  program.run(main, positional=True)
