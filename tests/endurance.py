"""Much in one process: does memory grow, and does a large study stay whole?

  python -m tests.endurance trainings --count=500
  python -m tests.endurance cells --count=1000

The first trains again and again, each time with other numbers; the second runs
a study of so many cells, and a report of it. Both say every so often how much
memory the process holds and how long a piece takes; status 1 says that memory
grew by more than a tenth after the first fifth, or that results are missing.
"""

import argparse
import csv
from pathlib import Path
import shutil
import sys
import tempfile
import time

from absl.flags import FLAGS
import jax

from experiments import report
from experiments import study as study_program
from experiments.configs import default
from experiments.studies import catalogue
from experiments.studies.declarations import Condition
from experiments.studies.declarations import DEFAULT
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.training import run
from tests.experiments import program

_PARTS = 20
_GROWTH = 1.1
_ARMS = (*catalogue.CONTROLS, 'sgd', 'sgdm', 'adam', 'adamw', 'lion')


def megabytes() -> float:
  """What the process holds in memory now."""
  for line in Path('/proc/self/status').read_text().splitlines():
    if line.startswith('VmRSS'):
      return int(line.split()[1]) / 1024
  raise OSError('no VmRSS in /proc/self/status')


class Watch:
  """Says what each part of the work took.

  Args:
    count: how many pieces there are, at least as many as parts.
  """

  def __init__(self, count: int) -> None:
    self._part, self._done = count // _PARTS, 0
    self._began = time.monotonic()
    self.held: list[float] = []

  def piece(self) -> None:
    """One more piece of the work is done."""
    self._done += 1
    if self._done % self._part:
      return
    now = time.monotonic()
    each = (now - self._began) / self._part
    self._began = now
    self.held.append(megabytes())
    arrays = len(jax.live_arrays())
    print(
      f'{self._done:5}: {self.held[-1]:6.0f} MiB, {arrays} arrays, '
      f'{each:.2f} s each',
      flush=True,
    )

  def grew(self) -> bool:
    """Whether memory grew after the first fifth."""
    settled = self.held[len(self.held) // 5]
    return self.held[-1] > _GROWTH * settled


def trainings(count: int, folder: Path) -> bool:
  """Trains so often; says whether all is well."""
  watch = Watch(count)
  for i in range(count):
    config = default.get_config()
    config.update(
      dataset='synthetic:4x4x1:3:20:10',
      arms='sgd,full',
      model='mlp_small',
      epochs=1 + i % 2,
      batch_size=4 + i % 3,
      seeds=1 + i % 2,
      learning_rate=0.01 * (1 + i),
    )
    workdir = folder / 'work'
    run.train(default.Config.resolve(config), workdir, run.Observer())
    shutil.rmtree(workdir)
    watch.piece()
  return not watch.grew()


def cells(count: int, folder: Path) -> bool:
  """Runs a study of so many cells; says whether all is well."""
  conditions = tuple(
    Condition(
      f'c{i}',
      Task(
        'digits',
        'mlp_small',
        fraction=0.1,
        label_noise=i / (2 * count),
        epochs=1,
        batch_size=32,
        warmup_epochs=1,
        quick=True,
      ),
      rulesets=(DEFAULT,),
    )
    for i in range(-(-count // len(_ARMS)))
  )
  declared = Study('many', _ARMS, conditions, seeds=2)
  catalogue.STUDIES['many'] = declared
  watch = Watch(count)

  class Reporter(study_program.Reporter):
    """The program's own, which also watches."""

    def computed(self, item, progress):
      super().computed(item, progress)
      watch.piece()

  study_program.Reporter = Reporter
  began = time.monotonic()
  with program.fresh_flags('study'):
    study_program.define_flags()
    arguments = ['many', f'--workdir={folder / "study"}']
    study_program.main(FLAGS(['study', *arguments])[1:])
  print(f'study: {time.monotonic() - began:.0f} s', flush=True)
  began = time.monotonic()
  report.main([str(folder / 'study')])
  print(f'report: {time.monotonic() - began:.0f} s', flush=True)
  with (folder / 'study' / 'results.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  page = (folder / 'study' / 'report.html').stat().st_size
  print(f'{len(rows)} rows of results.csv, a page of {page / 1e6:.1f} MB')
  whole = len(rows) == 2 * len(_ARMS) * len(conditions)
  return whole and not watch.grew()


def main() -> None:
  """The script."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('what', choices=('trainings', 'cells'))
  parser.add_argument('--count', type=int, default=500)
  given = parser.parse_args()
  if given.count < 100:  # Memory still grows as programs are first used.
    parser.error(f'--count must be ≥ 100, got {given.count}')
  what = {'trainings': trainings, 'cells': cells}[given.what]
  with tempfile.TemporaryDirectory(prefix='endurance-') as folder:
    well = what(given.count, Path(folder))
  print('all is well' if well else 'not so')
  sys.exit(not well)


if __name__ == '__main__':
  main()
