"""The run directory: whose it is, what run it holds, and how files get there.

Every file appears whole or not at all, and nothing is deleted that a run of
ours did not write.
"""

from collections.abc import Iterator, Mapping
import contextlib
import fcntl
import json
import os
from pathlib import Path
import shutil
from typing import Any

CONFIG = 'config.json'
_LOCK = '.lock'
# All that a run writes, so that --overwrite removes this and no more.
_OURS = (
  CONFIG,
  'checkpoints',
  'curves.png',
  'metrics.csv',
  'metrics.jsonl',
  'results.json',
  'tensorboard',
)


class RunDirectoryError(Exception):
  """The directory cannot be used; the message says what to do."""


def write_text(path: Path, text: str) -> None:
  """Writes a file so that a reader, or a crash, sees all of it or nothing."""
  temporary = path.with_name(f'.{path.name}.tmp')
  with temporary.open('w') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)


@contextlib.contextmanager
def opened(
  path: Path,
  settings: Mapping[str, Any],
  *,
  resume: bool,
  overwrite: bool,
) -> Iterator[bool]:
  """Claims a run directory for this process.

  Args:
    path: the directory; it is made if need be.
    settings: what identifies the run, JSON-able. A directory that holds a run
      with other settings is refused.
    resume: whether to go on with a run that is there.
    overwrite: whether to delete it and start again.

  Yields:
    Whether there is a run to go on with.

  Raises:
    RunDirectoryError: the directory is in use, or holds something else.
  """
  if path.exists() and not path.is_dir():
    raise RunDirectoryError(f'--workdir={path} is not a directory.')
  names = [p.name for p in path.iterdir()] if path.exists() else []
  strangers = [name for name in names if not _is_ours(name)]
  if strangers and CONFIG not in names:
    raise RunDirectoryError(
      f'--workdir={path} holds files but no run ({strangers[0]!r}, …); name an '
      'empty or a new directory.'
    )
  path.mkdir(parents=True, exist_ok=True)
  with (path / _LOCK).open('w') as lock:
    try:
      # The kernel lets go of it when the process dies, however it dies.
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise RunDirectoryError(
        f'--workdir={path} is in use by another process; wait for it, or name '
        'another directory.'
      ) from None
    yield _claim(path, dict(settings), resume=resume, overwrite=overwrite)


def _is_ours(name: str) -> bool:
  return name in (*_OURS, _LOCK) or (name[:1] == '.' and name[-4:] == '.tmp')


def _claim(
  path: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool
) -> bool:
  file = path / CONFIG
  text = json.dumps(settings, indent=2) + '\n'
  if overwrite:
    # First of all, so that what a crash leaves of the rest is no run.
    file.unlink(missing_ok=True)
  if not file.exists():
    for name in _OURS:
      target = path / name
      if target.is_dir():
        shutil.rmtree(target)
      else:
        target.unlink(missing_ok=True)
    write_text(file, text)
    return False
  found = json.loads(file.read_text())
  settings = json.loads(text)
  if found != settings:
    different = [
      f'{key}: {found.get(key)!r} there, {settings.get(key)!r} here'
      for key in sorted({*found, *settings})
      if found.get(key) != settings.get(key)
    ]
    raise RunDirectoryError(
      f'--workdir={path} holds a run with other settings '
      f'({"; ".join(different)}). Name another directory, or pass --overwrite '
      'to delete that run.'
    )
  if not resume:
    raise RunDirectoryError(
      f'--workdir={path} holds this run already. Drop --noresume to go on with '
      'it, or pass --overwrite to delete it and start again.'
    )
  return True
