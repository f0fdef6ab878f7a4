"""The run directory: whose it is, and what run it holds.

Nothing is deleted that a run of ours did not write: a directory is ours if its
`config.json` says so.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import fcntl
import json
from pathlib import Path
import shutil
from typing import Any

from experiments import errors
from experiments import files
from experiments import parsing
from experiments import storage

CONFIG = 'config.json'
_LOCK = '.lock'
# Stands in the configuration beside the settings. Others have a `config.json`
# too, and `checkpoints`, which are not to be taken for ours.
_PROGRAM = {'program': 'neuroplastic_optax/experiments.train'}
# All else that a run writes, so that --overwrite removes this and no more.
_OURS = (
  'checkpoints',
  'curves.png',
  'diagnostics',
  'diagnostics.csv',
  'diagnostics.jsonl',
  'evaluations.csv',
  'forgetting.png',
  'metrics.csv',
  'metrics.jsonl',
  'overview.png',
  'results.json',
  'stream.png',
  'tensorboard',
)


class RunDirectoryError(errors.UserError):
  """The directory cannot be used; the message says what to do."""


@contextlib.contextmanager
def opened(
  path: Path,
  settings: Mapping[str, Any],
  *,
  resume: bool,
  overwrite: bool,
  may_resume: Callable[[str, Any], bool] = lambda name, there: False,
) -> Iterator[bool]:
  """Claims a run directory for this process.

  Args:
    path: the directory; it is made if need be.
    settings: the settings of the run, JSON-able. A directory that holds a run
      with other settings is refused.
    resume: whether to go on with a run that is there.
    overwrite: whether to delete it and start again.
    may_resume: whether a run whose setting of this name was this may go on with
      that of `settings`, which the directory then says.

  Yields:
    Whether there is a run to go on with.

  Raises:
    RunDirectoryError: the directory is in use, or holds something else.
    WritingError: the disk does not take what is written.
  """
  with contextlib.ExitStack() as stack:
    try:
      _refuse_foreign(path)
      path.mkdir(parents=True, exist_ok=True)
      lock = stack.enter_context((path / _LOCK).open('a'))
      # The kernel lets go of it when the process dies, however it dies.
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      going_on = _claim(
        path,
        settings,
        resume=resume,
        overwrite=overwrite,
        may_resume=may_resume,
      )
    except BlockingIOError:
      raise RunDirectoryError(
        f'--workdir={path} is in use by another process; wait for it, or name '
        'another directory.'
      ) from None
    except OSError as e:
      if e.errno in storage.REFUSALS:
        raise errors.StorageError(f'cannot write {path}: {e.strerror}') from e
      raise RunDirectoryError(
        f'--workdir={path} cannot be used: {e.strerror}.'
      ) from e
    yield going_on


def _refuse_foreign(path: Path) -> None:
  """Raises an error, and changes nothing, if the directory is not for us."""
  if path.exists() and not path.is_dir():
    raise RunDirectoryError(f'--workdir={path} is not a directory.')
  if '[' in str(path.absolute()):
    raise RunDirectoryError(
      f'--workdir={path.absolute()} has a [ in its name, where Orbax does not '
      'find its checkpoints again; name another directory.'
    )
  if not path.exists() or _read_config(path) is not None:
    return
  # What is left where a process was killed before it could say whose it is.
  harmless = {_LOCK, files.temporary_of(path / CONFIG).name}
  if strangers := sorted({p.name for p in path.iterdir()} - harmless):
    raise RunDirectoryError(
      f'--workdir={path} holds files but no run ({strangers[0]!r}, …); name an '
      'empty or a new directory.'
    )


def _read_config(path: Path) -> dict[str, Any] | None:
  """The settings of the run in a directory.

  Args:
    path: the directory.

  Returns:
    The settings; empty for a run that is being deleted, None for no run.
  """
  try:
    found = parsing.read(path / CONFIG)
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return None
  if not isinstance(found, dict) or not found.items() >= _PROGRAM.items():
    return None
  return {key: found[key] for key in found if key not in _PROGRAM}


def _claim(
  path: Path,
  settings: Mapping[str, Any],
  *,
  resume: bool,
  overwrite: bool,
  may_resume: Callable[[str, Any], bool],
) -> bool:
  text = json.dumps({**_PROGRAM, **settings}, indent=2) + '\n'
  found = _read_config(path)
  if found and overwrite:
    # First of all, so that what a crash leaves of the rest is no run.
    files.write_text(path / CONFIG, json.dumps(_PROGRAM) + '\n')
    found = {}
  if not found:
    if found is not None:
      for name in _OURS:
        _delete(path / name)
        _delete(files.temporary_of(path / name))
    files.write_text(path / CONFIG, text)
    return False
  wanted = {key: json.loads(text)[key] for key in settings}
  different = [
    f'{key}: {found.get(key)!r} there, {wanted.get(key)!r} here'
    for key in sorted({*found, *wanted})
    if found.get(key) != wanted.get(key)
    and not (key in found and may_resume(key, found[key]))
  ]
  if different:
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
  if found != wanted:
    files.write_text(path / CONFIG, text)
  return True


def _delete(path: Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
