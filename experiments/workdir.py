"""The directory that a program keeps what it makes in: `--workdir`.

A directory is ours if its mark, a JSON file that the program writes first, says
so. What is in any other is neither read nor changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
from pathlib import Path
from typing import Any

from experiments import errors
from experiments import files

_LOCK = '.lock'
_PROGRAM, _FORMAT = 'program', 'format'


class WorkdirError(errors.UserError):
  """The directory cannot be used; the message says what to do."""


class Workdir:
  """A directory for one run, or for one study; nothing is touched yet.

  Args:
    path: where it is; there may be nothing yet.
    holds: what it is for, a word.
    program: what writes it.
    mark: the name of the file that says whose it is.
    format_: that of its files; no other can be read.
  """

  def __init__(
    self,
    path: Path,
    holds: str,
    program: str,
    mark: str,
    format_: int,
  ) -> None:
    self.path = path
    self._holds, self._mark = holds, mark
    self._ours = {_PROGRAM: f'neuroplastic_optax/experiments.{program}'}
    self._format = format_

  def mark(self) -> dict[str, Any] | None:
    """What `write` wrote; None where there is nothing.

    Raises:
      StorageError: the file of that name is another program's, or damaged.
    """
    path = self.path / self._mark
    if not path.exists():
      return None
    found = files.read_json(path)
    if not isinstance(found, dict) or not found.items() >= self._ours.items():
      raise errors.StorageError(f'cannot read {path}: we did not write it.')
    if found.get(_FORMAT, 1) != self._format:
      raise errors.StorageError(
        f'cannot read {path}: its format is {found.get(_FORMAT, 1)}, and this '
        f'version of the programs reads {self._format}.'
      )
    return {
      key: x for key, x in found.items() if key not in (_PROGRAM, _FORMAT)
    }

  def check(self) -> None:
    """Fails where the directory holds what is not ours; changes nothing."""
    if self.mark() is not None or not self.path.exists():
      return
    names = {x.name for x in self.path.iterdir()}
    # What is left where a process was killed before it wrote the mark.
    harmless = {_LOCK, files.temporary_of(self.path / self._mark).name}
    if strangers := sorted(names - harmless):
      raise WorkdirError(
        f'--workdir={self.path} holds files but no {self._holds} '
        f'({strangers[0]!r}, …); name an empty or a new directory.'
      )

  def write(self, content: Mapping[str, Any]) -> None:
    """Writes the mark."""
    mark = {**self._ours, _FORMAT: self._format, **content}
    files.write_json(self.path / self._mark, mark)

  @contextlib.contextmanager
  def locked(self, *, wait: bool) -> Iterator[None]:
    """Makes the directory, and keeps other processes from locking it.

    Where one has locked it, this waits for it or raises a `WorkdirError`.
    """
    self.path.mkdir(parents=True, exist_ok=True)
    with files.locked(self.path / _LOCK, wait=wait) as ours:
      if not ours:
        raise WorkdirError(
          f'--workdir={self.path} is in use by another process; wait for it, '
          'or name another directory.'
        )
      yield

  def refuse_other(self, there: Any, here: Any, hint: str = '') -> None:
    """Fails if what the mark says differs from what it should say.

    Args:
      there: what it says.
      here: what it should say; both as JSON has it.
      hint: what else can be done than to name another directory.
    """
    if found := _differences(there, here):
      # Another study differs in its name before all else.
      found.sort(key=lambda x: x.partition(':')[0].count('.'))
      raise WorkdirError(
        f'--workdir={self.path} holds another {self._holds} '
        f'({"; ".join(found[:5])}); name another directory{hint}.'
      )

  @contextlib.contextmanager
  def claimed(
    self,
    settings: Mapping[str, Any],
    written: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
    may_change: Callable[[str, Any], bool] = lambda name, there: False,
  ) -> Iterator[bool]:
    """Keeps the directory for this process alone.

    Args:
      settings: what the mark says; a directory with others is refused.
      written: what else the program writes there, which is deleted if the
        directory is overwritten, and nothing but that.
      resume: whether to resume what is there.
      overwrite: whether to delete it and start again.
      may_change: whether a setting of this name that was this may be another
        now.

    Yields:
      Whether there is something to resume.

    Raises:
      WorkdirError: the directory is in use, holds something else, or has a
        name under which checkpoints cannot be restored.
    """
    if '[' in str(self.path.absolute()):
      raise WorkdirError(
        f'--workdir={self.path.absolute()} has a [ in its name, where Orbax '
        'does not find its checkpoints again; name another directory.'
      )
    self.check()
    with self.locked(wait=False):
      found = self.mark()
      wanted = json.loads(json.dumps(settings))
      if found and overwrite:
        # First of all, so that what a crash leaves of the rest is not resumed.
        self.write({})
        found = {}
      if found == {}:
        for name in written:
          files.remove(self.path / name)
          files.remove(files.temporary_of(self.path / name))
      if not found:
        self.write(wanted)
        yield False
        return
      changed = {
        key: wanted[key]
        for key, there in found.items()
        if key in wanted and may_change(key, there)
      }
      hint = ', or pass --overwrite to delete it and start again'
      self.refuse_other({**found, **changed}, wanted, hint)
      if not resume:
        raise WorkdirError(
          f'--workdir={self.path} holds this {self._holds} already: drop '
          f'--noresume to resume it{hint}.'
        )
      if found != wanted:
        self.write(wanted)
      yield True


def _differences(there: Any, here: Any, name: str = '') -> list[str]:
  """In words, where two JSON values differ."""
  if isinstance(there, dict) and isinstance(here, dict):
    return [
      found
      for key in sorted({*there, *here})
      for found in _differences(
        there.get(key), here.get(key), f'{name}.{key}'.lstrip('.')
      )
    ]
  if there == here:
    return []
  texts = (json.dumps(x, ensure_ascii=False) for x in (there, here))
  there, here = (x if len(x) <= 60 else 'something' for x in texts)
  return [f'{name}: {there} there, {here} here']
