"""Disturbs real programs at random: do they end with the same numbers?

  python -m tests.faults
  python -m tests.faults --points=1

Each point disturbs a program (a training, a stream, a study; all small) and
runs its command once more. It is killed by one of the signals at a random
moment, or a random file of its finished folder is truncated, as a power cut may
leave it. What is left must be what an undisturbed program leaves, or the
program must have refused with one line. What went wrong is printed and is
status 1.
"""

import argparse
import os
from pathlib import Path
import shutil
import signal
import sys
import tempfile
import time

import numpy as np

from tests.experiments import outcomes
from tests.experiments import program

KINDS = ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'truncated')
PROGRAMS = {
  'train': ('train', *program.TINY),
  'stream': ('train', *program.STREAM, '--config.arms=sgd,full'),
  'study': ('study', 'digits', '--smoke', '--only=sgd'),
}


def disturbed(name: str, kind: str, folder: Path, seed: int) -> str:
  """Disturbs a program once.

  Args:
    name: of the program.
    kind: one of `KINDS`.
    folder: where it runs, and an undisturbed one beside, once for all points.
    seed: draws the moment or the file.

  Returns:
    'the same', 'refused', or what went wrong.
  """
  random = np.random.default_rng(seed)
  what, *flags = PROGRAMS[name]
  flags.append('--workdir=work')
  whole = folder.with_name('whole')
  if not whole.exists():
    start = time.monotonic()
    program.run(whole, *flags, name=what)
    (whole / 'seconds').write_text(str(time.monotonic() - start))
  if kind == 'truncated':
    shutil.copytree(whole, folder)
    paths = [x for x in sorted(folder.rglob('work/**/*')) if x.is_file()]
    path = paths[random.integers(len(paths))]
    size = int(random.integers(path.stat().st_size + 1))
    os.truncate(path, size)
    where = f'{path.relative_to(folder)} cut to {size} bytes'
  else:
    number = signal.Signals[kind]
    delay = random.uniform(0, float((whole / 'seconds').read_text()))
    with program.started(folder, *flags, name=what) as process:
      time.sleep(delay)
      if process.alive():
        process.send(number)
      result = process.wait()
    where = f'{kind} after {delay:.3f} s'
    # It may have ended before.
    if result.code not in (0, -number, 128 + number):
      return f'{where}: {result}'
  result = program.run(folder, *flags, name=what)
  if result.code == 1 and result.stderr.count('\n') == 1:
    return 'refused'
  found, expected = outcomes.of(folder / 'work'), outcomes.of(whole / 'work')
  names = [x for x in found | expected if found.get(x) != expected.get(x)]
  if result.code or names or not expected:
    return f'{where}: {result}, {names} differ'
  return 'the same'


def main() -> None:
  """The script."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--points', type=int, default=5)
  failed = False
  for name in PROGRAMS:
    with tempfile.TemporaryDirectory(prefix='faults-') as folder:
      for kind in KINDS:
        for seed in range(parser.parse_args().points):
          point = Path(folder, f'{kind}{seed}')
          how = disturbed(name, kind, point, seed)
          failed |= how not in ('the same', 'refused')
          print(name, kind, seed, how, flush=True)
  sys.exit(failed)


if __name__ == '__main__':
  main()
