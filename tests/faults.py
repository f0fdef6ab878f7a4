"""Disturbs real programs at random: do they end with the same numbers?

  python -m tests.faults
  python -m tests.faults --points=1 --programs=train --kinds=SIGKILL,truncated

Each point disturbs a program (a training, a stream, a study; all small) and
runs its command once more:

  SIGKILL, SIGTERM, SIGINT, SIGHUP   at a random moment
  truncated                          a random file is cut off, as a power cut
                                     may leave it

What is left must be what an undisturbed program leaves, or the program must
have refused with one line. What went wrong is printed and is status 1.
"""

import argparse
import csv
import json
import os
from pathlib import Path
import shutil
import signal
import sys
import tempfile
import time

import numpy as np

from tests.experiments import program

WORKDIR = 'work'
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP')
PROGRAMS = {
  'train': ('train', *program.TINY),
  'stream': (
    'train',
    *('--config.dataset=synthetic:4x4x1:4:40:12', '--config.stream=split'),
    *('--config.tasks=2', '--config.updates=12', '--config.batch_size=8'),
    *('--config.model=mlp_small', '--config.arms=sgd,full', '--config.seeds=2'),
  ),
  'study': ('study', 'digits', '--smoke', '--only=sgd'),
}


class FaultError(Exception):
  """A program did what it must not."""


def _run(name: str, folder: Path) -> program.Result:
  what, *flags = PROGRAMS[name]
  return program.run(folder, *flags, f'--workdir={WORKDIR}', name=what)


def outcome(path: Path) -> dict[str, object]:
  """By path, what must not depend on what disturbed a program."""
  found: dict[str, object] = {}
  for file in sorted(path.rglob('*')):
    name = str(file.relative_to(path))
    if file.suffix == '.csv':
      with file.open(newline='') as text:
        found[name] = [
          {key: x for key, x in row.items() if 'seconds' not in key}
          for row in csv.DictReader(text)
          if 'seconds' not in row.get('measure', '')
        ]
    elif file.name in ('results.json', 'outcome.json', 'config.json'):
      found[name] = _timeless(json.loads(file.read_text()))
  return found


def _timeless(value):
  if isinstance(value, dict):
    return {k: _timeless(x) for k, x in value.items() if 'seconds' not in k}
  return [_timeless(x) for x in value] if isinstance(value, list) else value


class Campaign:
  """Disturbs one program; `random` draws how."""

  def __init__(self, name: str, folder: Path, random: np.random.Generator):
    self._name, self._folder, self._random = name, folder, random
    folder.mkdir(parents=True)
    self._whole = folder / 'whole'
    start = time.monotonic()
    result = _run(name, self._whole)
    self._seconds = time.monotonic() - start
    assert result.code == 0, result
    self._expected = outcome(self._whole / WORKDIR)

  def point(self, kind: str, index: int) -> str:
    """Disturbs it once; 'the same' or 'refused'."""
    folder = self._folder / f'{kind}{index}'
    if kind in SIGNALS:
      where = self._killed(folder, signal.Signals[kind])
    else:
      where = self._truncated(folder)
    result = _run(self._name, folder)
    if result.code == 1 and result.stderr.count('\n') == 1:
      return 'refused'
    found = outcome(folder / WORKDIR)
    if result.code or found != self._expected:
      names = [x for x in found if found[x] != self._expected.get(x)]
      raise FaultError(f'{where}: {result}, {names} differ')
    return 'the same'

  def _killed(self, folder: Path, number: signal.Signals) -> str:
    delay = self._random.uniform(0, self._seconds)
    what, *flags = PROGRAMS[self._name]
    with program.started(
      folder, *flags, f'--workdir={WORKDIR}', name=what
    ) as process:
      time.sleep(delay)
      if process.alive():
        process.send(number)
      result = process.wait()
    where = f'{number.name} after {delay:.3f} s'
    # It may have ended before.
    if result.code not in (0, -number, 128 + number):
      raise FaultError(f'{where}: {result}')
    return where

  def _truncated(self, folder: Path) -> str:
    shutil.copytree(self._whole, folder)
    paths = [x for x in sorted(folder.rglob('*')) if x.is_file()]
    path = paths[self._random.integers(len(paths))]
    size = int(self._random.integers(path.stat().st_size + 1))
    os.truncate(path, size)
    return f'{path.relative_to(folder)} cut to {size} bytes'


def main() -> None:
  """The script."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--points', type=int, default=5)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--programs', default=','.join(PROGRAMS))
  parser.add_argument('--kinds', default=','.join((*SIGNALS, 'truncated')))
  given = parser.parse_args()
  failed = False
  with tempfile.TemporaryDirectory(prefix='faults-') as folder:
    for name in given.programs.split(','):
      random = np.random.default_rng([given.seed, *name.encode()])
      campaign = Campaign(name, Path(folder) / name, random)
      for kind in given.kinds.split(','):
        for index in range(given.points):
          try:
            how = campaign.point(kind, index)
          except FaultError as e:
            how, failed = f'wrong: {e}', True
          print(name, kind, index, how, flush=True)
  sys.exit(failed)


if __name__ == '__main__':
  main()
