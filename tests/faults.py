"""Faults at random moments: does every program end as if nothing had happened?

  python -m tests.faults                   # twenty points a kind, in two hours
  python -m tests.faults --points=1 --subjects=train --kinds=SIGKILL,truncated

Each point disturbs a real program (a training, a stream, a study, a report; all
as small as can be) and then runs its command once more:

  SIGKILL, SIGTERM, SIGINT   at a random moment of its life
  truncated                  the newest file of a random kind is cut off, as a
                             power cut may leave it
  writers                    two processes of the same command at once
  disk                       on a file system that is full after so many bytes,
                             and has room again the second time (root only)

What is left must be that of an undisturbed run, to the last bit, or the program
must have refused in one sentence. The figures are printed as a table; what went
wrong is printed with what repeats it, and ends the script with status 1.
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import csv
import dataclasses
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from rich.console import Console
from rich.table import Table

from experiments import checksums
from tests.experiments import program

SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')
KINDS = (*SIGNALS, 'truncated', 'writers', 'disk')
WORKDIR = 'work'
SAME, REFUSED = 'the same', 'refused'
# Said by a program of itself, and of its clock.
_OWN = ('provenance', 'start', 'end', 'commit', 'command')
_UNTOLD = ('.lock', 'provenance.json')
_DISK = range(100_000, 3_000_000)


@dataclasses.dataclass(frozen=True)
class Subject:
  """A program that is disturbed.

  Attributes:
    program: its name.
    flags: those of its command line.
    begins_with: what makes the folder that it works on; None for none.
  """

  program: str
  flags: tuple[str, ...]
  begins_with: tuple[str, tuple[str, ...]] | None = None

  def start(self, folder: Path) -> Any:
    """Starts it in a folder."""
    return program.started(folder, *self.flags, name=self.program)

  def run(self, folder: Path) -> program.Result:
    """Runs it to its end."""
    return program.run(folder, *self.flags, name=self.program)

  def prepare(self, folder: Path) -> None:
    """Makes what it works on."""
    if self.begins_with:
      name, flags = self.begins_with
      found = program.run(folder, *flags, name=name)
      assert found.code == 0, found.stderr


_TRAIN = (*program.TINY, '--config.checkpoint_every=1', f'--workdir={WORKDIR}')
_STREAM = (
  '--config.dataset=synthetic:4x4x1:4:40:12',
  '--config.stream=split',
  *('--config.tasks=2', '--config.updates=12', '--config.batch_size=8'),
  *('--config.model=mlp_small', '--config.arms=sgd,full', '--config.seeds=2'),
  *('--config.checkpoint_every=1', f'--workdir={WORKDIR}'),
)
_STUDY = ('digits', '--smoke', f'--workdir={WORKDIR}')
SUBJECTS = {
  'train': Subject('train', _TRAIN),
  'stream': Subject('train', _STREAM),
  'study': Subject('study', (*_STUDY, '--only=sgd')),
  'report': Subject(
    'report', (WORKDIR,), ('study', (*_STUDY, '--only=sgd,adamw'))
  ),
}


def outcome(path: Path) -> dict[str, Any]:
  """All in a folder that must not depend on what disturbed a program."""
  found: dict[str, Any] = {}
  for file in sorted(path.rglob('*')):
    name = str(file.relative_to(path))
    if not file.is_file() or file.name.endswith(_UNTOLD):
      continue
    if not name.startswith('checkpoints/'):
      found[name] = _content(file)
  for arm in sorted(path.glob('checkpoints/*')):
    last = max(int(each.name) for each in arm.iterdir() if each.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
      state = checkpointer.restore(arm.absolute() / str(last) / 'state')
    found[f'{arm.name} {last}'] = {
      key: (str(x.dtype), np.asarray(x).tobytes()) for key, x in state.items()
    }
  return found


def _content(file: Path) -> Any:
  """What a file holds, without what a clock said."""
  if file.name == checksums.FILE:
    # They differ where what a clock said does, but have to be right.
    return checksums.fault(file.parent)
  if file.suffix == '.csv':
    with file.open(newline='') as text:
      return [
        {key: x for key, x in row.items() if not _is_own(key)}
        for row in csv.DictReader(text)
        if not _is_own(row.get('measure') or '')
      ]
  if file.suffix in ('.json', '.jsonl'):
    lines = file.read_text()
    parts = lines.splitlines() if file.suffix == '.jsonl' else [lines]
    return [_without_own(json.loads(part)) for part in parts]
  return checksums.of_file(file)


def _is_own(key: str) -> bool:
  return key in _OWN or 'seconds' in key.split('_')


def _without_own(value: Any) -> Any:
  if isinstance(value, dict):
    return {
      key: _without_own(x)
      for key, x in value.items()
      if not _is_own(key) and not _is_own(str(value.get('measure', '')))
    }
  if isinstance(value, list):
    return [_without_own(x) for x in value]
  return value


class Fault(Exception):  # noqa: N818
  """A program did what it must not."""


class Campaign:
  """Disturbs one subject.

  Args:
    name: of the subject.
    folder: where its folders are made.
    seed: of what is drawn.
  """

  def __init__(self, name: str, folder: Path, seed: int) -> None:
    self.subject = SUBJECTS[name]
    self._folder = folder
    self._random = np.random.default_rng([seed, *name.encode()])
    self._made = 0
    folder.mkdir(parents=True)
    self._prepared = folder / 'prepared'
    self.subject.prepare(self._prepared)
    self._whole, again = self._new(), self._new()
    for whole in (self._whole, again):
      start = time.monotonic()
      result = self.subject.run(whole)
      # Of the second, which finds all compiled as those to come do.
      self.seconds = time.monotonic() - start
      assert (result.code, result.stderr) == (0, ''), result
    self._expected = outcome(self._whole / WORKDIR)
    assert outcome(again / WORKDIR) == self._expected

  def point(self, kind: str) -> str:
    """Disturbs it once, and says how it ended."""
    disturb: dict[str, Callable[[], str]] = {
      'truncated': self._truncated,
      'writers': self._writers,
      'disk': self._disk,
    }
    if kind in SIGNALS:
      return self._killed(signal.Signals[kind])
    return disturb[kind]()

  def _new(self) -> Path:
    """A folder of its own, with what the program works on."""
    self._made += 1
    folder = self._folder / f'{self._made}'
    if self._prepared.exists():
      shutil.copytree(self._prepared, folder)
    return folder

  def _killed(self, number: signal.Signals) -> str:
    folder = self._new()
    delay = self._random.uniform(0, self.seconds)
    with self.subject.start(folder) as process:
      time.sleep(delay)
      with contextlib.suppress(ProcessLookupError):
        process.send(number)
      result = process.wait()
    # It may have ended before, or not have got to where it listens.
    codes = {0, -number} | ({128 + number} if number != 9 else set())
    where = f'{number.name} after {delay:.3f} s'
    if result.code not in codes or 'Traceback' in result.stderr:
      raise Fault(f'{where}: {result}')
    return self._ends(folder, where)

  def _truncated(self) -> str:
    folder = self._new()
    shutil.copytree(self._whole, folder, dirs_exist_ok=True)
    files = [x for x in (folder / WORKDIR).rglob('*') if x.is_file()]
    kinds = sorted({_kind(x) for x in files if x.stat().st_size})
    kind = kinds[self._random.integers(len(kinds))]
    newest = max(
      (x for x in files if _kind(x) == kind and x.stat().st_size),
      key=lambda x: (x.stat().st_mtime_ns, str(x)),
    )
    size = int(self._random.integers(newest.stat().st_size))
    os.truncate(newest, size)
    name = newest.relative_to(folder)
    # What it only works on it may not need, and then leaves as it is.
    own = not (self._prepared / name).exists()
    return self._ends(
      folder, f'{name} cut to {size} bytes', None if own else newest
    )

  def _writers(self) -> str:
    folder = self._new()
    delay = self._random.uniform(0, self.seconds)
    with self.subject.start(folder) as one:
      time.sleep(delay)
      with self.subject.start(folder) as other:
        results = one.wait(), other.wait()
    where = f'two writers, {delay:.3f} s apart'
    for result in results:
      if result.code and not _is_refusal(result):
        raise Fault(f'{where}: {result}')
    if all(result.code for result in results):
      raise Fault(f'{where}: neither ended well: {results}')
    return self._ends(folder, where)

  def _disk(self) -> str:
    folder = self._new()
    folder.mkdir(exist_ok=True)
    size = int(self._random.integers(_DISK.start, _DISK.stop))
    with _small_disk(folder / WORKDIR, size, self._prepared / WORKDIR) as grow:
      result = self.subject.run(folder)
      where = f'a disk of {size} bytes'
      if result.code and not _is_refusal(result):
        raise Fault(f'{where}: {result}')
      grow()
      return self._ends(folder, where)

  def _ends(self, folder: Path, where: str, given: Path | None = None) -> str:
    """Runs the command once more, and compares, but for a file that it got."""
    before = given.read_bytes() if given else b''
    result = self.subject.run(folder)
    if result.code:
      if _is_refusal(result):
        return REFUSED
      raise Fault(f'{where}: then {result}')
    found = outcome(folder / WORKDIR)
    different = sorted(
      name
      for name in {*found, *self._expected}
      if found.get(name) != self._expected.get(name)
    )
    if given and given.read_bytes() == before:
      untouched = str(given.relative_to(folder / WORKDIR))
      different = [name for name in different if name != untouched]
    if different:
      names = ', '.join(different[:5])
      raise Fault(f'{where}: {len(different)} differ, such as {names}')
    return SAME


def _kind(file: Path) -> str:
  return file.suffix or file.name


def _is_refusal(result: program.Result) -> bool:
  """Whether it refused in one sentence."""
  lines = result.stderr.strip().splitlines()
  return result.code in (1, 2) and len(lines) == 1


@contextlib.contextmanager
def _small_disk(
  path: Path, size: int, prepared: Path
) -> Iterator[Callable[[], None]]:
  """A file system of so many bytes; yields what makes room."""
  path.mkdir(exist_ok=True)
  options = ['-t', 'tmpfs', '-o', f'size={size}']
  there = 0
  if prepared.exists():
    there = sum(x.stat().st_size for x in prepared.rglob('*') if x.is_file())
    options[-1] = f'size={size + 2 * there}'
  subprocess.run(['mount', *options, 'tmpfs', str(path)], check=True)
  try:
    if prepared.exists():
      shutil.copytree(prepared, path, dirs_exist_ok=True)
    yield lambda: subprocess.run(
      ['mount', '-o', 'remount,size=500m', str(path)], check=True
    )
  finally:
    subprocess.run(['umount', str(path)], check=True)


def campaign(
  subjects: tuple[str, ...],
  kinds: tuple[str, ...],
  points: int,
  *,
  seed: int = 0,
  seconds: float = np.inf,
  folder: Path,
) -> tuple[dict[tuple[str, str], dict[str, int]], list[str]]:
  """Disturbs all subjects in all ways.

  Args:
    subjects: their names.
    kinds: what is done to them.
    points: how often each.
    seed: of what is drawn.
    seconds: after which nothing more is begun.
    folder: for their folders.

  Returns:
    By subject and kind, how often it ended how; and what went wrong.
  """
  end = time.monotonic() + seconds
  figures: dict[tuple[str, str], dict[str, int]] = {}
  faults: list[str] = []
  for name in subjects:
    own = Campaign(name, folder / name, seed)
    for kind in kinds:
      found = figures.setdefault((name, kind), {})
      for point in range(points):
        if time.monotonic() > end:
          return figures, faults
        try:
          how = own.point(kind)
        except Fault as e:
          how = 'fault'
          faults.append(f'{name}, {kind}, point {point}, seed {seed}: {e}')
        found[how] = found.get(how, 0) + 1
  return figures, faults


def main() -> None:
  """The script."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--points', type=int, default=20)
  parser.add_argument('--minutes', type=float, default=120)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--subjects', default=','.join(SUBJECTS))
  kinds = KINDS if os.getuid() == 0 else KINDS[:-1]
  parser.add_argument('--kinds', default=','.join(kinds))
  given = parser.parse_args()
  with tempfile.TemporaryDirectory(prefix='faults-') as folder:
    figures, faults = campaign(
      tuple(given.subjects.split(',')),
      tuple(given.kinds.split(',')),
      given.points,
      seed=given.seed,
      seconds=60 * given.minutes,
      folder=Path(folder),
    )
  table = Table('program', 'fault', 'points', SAME, REFUSED, 'wrong')
  for (name, kind), found in figures.items():
    counts = (found.get(how, 0) for how in (SAME, REFUSED, 'fault'))
    table.add_row(name, kind, str(sum(found.values())), *map(str, counts))
  console = Console(markup=False, highlight=False, soft_wrap=True)
  console.print(table)
  for fault in faults:
    console.print(fault)
  sys.exit(bool(faults))


if __name__ == '__main__':
  main()
