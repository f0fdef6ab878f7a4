"""A study directory: whose it is, what study it holds, and its tables.

Several processes may work in one, as shards of a study do: what they share is
written under a lock, and each file appears whole.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import fcntl
import json
from pathlib import Path
import sys
from typing import Any

from experiments import errors
from experiments import files
from experiments import parsing
from experiments import storage
from experiments.studies import speeds
from experiments.studies import tables
from experiments.studies import versions
from experiments.studies.declarations import Study
from experiments.studies.plan import Plan
from experiments.studies.speeds import Speeds
from experiments.training import provenance

FILE, CELLS = 'study.json', 'cells'
# Raised when what is read of the directory changes its meaning. A new column
# of a table or a new entry does not: it is absent where the study is older.
FORMAT = 1
_LOCK = '.lock'
# Others may have a `study.json`, too.
_PROGRAM = 'neuroplastic_optax/experiments.study'


class StudyDirectoryError(errors.UserError):
  """The directory cannot be used; the message says what to do."""


class StudyDirectory:
  """A study directory, of which nothing is touched before `claim`.

  Attributes:
    path: where it is.
    arms: those of the study that are in it, with those of this process.
  """

  def __init__(
    self, path: Path, study: Study, arms: Sequence[str], *, smoke: bool
  ) -> None:
    """Looks at a directory.

    Args:
      path: where it is; there may be nothing.
      study: the study.
      arms: those of it that this process is about.
      smoke: whether it is the tiny one.

    Raises:
      StudyDirectoryError: it holds something else.
    """
    self.path = path
    # As they are read back.
    self._definition = json.loads(
      json.dumps({'study': study.name, 'smoke': smoke, **study.definition()})
    )
    _refuse_foreign(path)
    found = read(path)
    if found is not None and not is_whole(found):
      raise StudyDirectoryError(
        f'{path / FILE} is damaged: it does not define a study; name another '
        'directory.'
      )
    self._refuse_other(found)
    there = found['arms'] if found else []
    self.arms = tuple(
      arm for arm in study.all_arms if arm in arms or arm in there
    )

  def _refuse_other(self, found: Mapping[str, Any] | None) -> None:
    if found is None:
      return
    there = found['definition']
    different = _differences(there, self._definition)
    # Another study differs in its name before all else.
    different.sort(key=lambda x: x.partition(':')[0].count('.'))
    if different:
      raise StudyDirectoryError(
        f'--workdir={self.path} holds another study, or this one as it was '
        f'before its definition changed ({"; ".join(different[:3])}); name '
        'another directory.'
      )

  def claim(self) -> None:
    """Makes the directory, and writes what study it holds.

    Raises:
      StudyDirectoryError: it cannot be.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      with self._locked():
        before = read(self.path) or {}
        self._refuse_other(before or None)
        now = provenance.collect()
        files.write_json(
          self.path / FILE,
          {
            'program': _PROGRAM,
            'format': FORMAT,
            'definition': self._definition,
            'arms': list(self.arms),
            'code': versions.code(),
            'provenance': [*before.get('provenance', []), now],
            'cells': before.get('cells'),
            'tuning': before.get('tuning'),
            'conditions': before.get('conditions'),
            'seconds_per_update': before.get('seconds_per_update'),
            'end': None,
          },
        )
    except OSError as e:
      if e.errno in storage.REFUSALS:
        raise errors.StorageError(
          f'cannot write {self.path}: {e.strerror}.'
        ) from e
      raise StudyDirectoryError(
        f'--workdir={self.path} must be a folder that can be written to '
        f'({e.strerror}).'
      ) from e

  def write_tables(self, plan: Plan) -> None:
    """Writes the tables, and what is known of the tuning, from the cells."""
    with self._locked():
      items = plan.items()
      there = sum(plan.outcome(item.cell) is not None for item in items)
      done = there == len(items)
      found = read(self.path) or {}
      made = tables.make(plan, found.get('seconds_per_update'))
      made.write(self.path)
      end = (found.get('end') or provenance.now()) if done else None
      files.write_json(
        self.path / FILE,
        {
          **found,
          'provenance': _makers(found, plan.store.givers),
          'cells': {'planned': len(items), 'finished': there},
          'tuning': made.tuning,
          'conditions': made.conditions,
          'end': end,
        },
      )

  def wants_speeds(self, plan: Plan) -> bool:
    """Whether all cells are there, and not all arms were measured yet."""
    found = (read(self.path) or {}).get('seconds_per_update')
    done = all(plan.outcome(item.cell) is not None for item in plan.items())
    return done and speeds.missing(plan, found)

  def write_speeds(self, found: Speeds) -> None:
    """Writes how long updates take."""
    with self._locked():
      there = read(self.path) or {}
      files.write_json(self.path / FILE, {**there, 'seconds_per_update': found})

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    with (self.path / _LOCK).open('a') as lock:
      # File systems without locks have files that appear whole all the same.
      with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
      yield


def load(path: Path) -> dict[str, Any]:
  """What `study.json` says of the study in a directory.

  Raises:
    StorageError: there is none, or it cannot be read.
  """
  if not path.is_dir():
    raise errors.StorageError(f'{path} is not a directory.')
  found = read(path)
  if found is None:
    raise errors.StorageError(
      f'{path} is no study directory: it has no whole {FILE} that '
      '`python -m experiments.study` wrote.'
    )
  if found.get('format', 1) > FORMAT:
    raise errors.StorageError(
      f'cannot read {path / FILE}: its format is {found["format"]}, and this '
      f'version of the programs reads up to {FORMAT}.'
    )
  if not is_whole(found):
    raise errors.StorageError(
      f'{path / FILE} is damaged: it does not define a study.'
    )
  return found


def read(path: Path) -> dict[str, Any] | None:
  """What `study.json` says, if the directory holds a study of ours."""
  try:
    found = parsing.read(path / FILE)
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return None
  ours = isinstance(found, dict) and found.get('program') == _PROGRAM
  return found if ours else None


def _makers(
  study: Mapping[str, Any], givers: Sequence[Path]
) -> list[Mapping[str, Any]]:
  """What made the cells: first the runs of studies that gave some."""
  own = list(study.get('provenance') or [])
  others: list[Mapping[str, Any]] = []
  for cells in givers:
    other = read(cells.parent) or {}
    if is_whole(other):
      others += other.get('provenance') or []
  return [*(each for each in others if each not in own), *own]


def speeds_of(path: Path) -> Speeds:
  """How long updates take, where they were measured on this machine.

  Args:
    path: the study directory.

  Returns:
    Nothing where another code or other hardware was measured, or none.
  """
  found = read(path) or {}
  if not is_whole(found) or found.get('code') != versions.code():
    return {}
  *_, maker = found.get('provenance') or [{}]
  if maker.get('hardware') != provenance.collect()['hardware']:
    return {}
  return found.get('seconds_per_update') or {}


def is_whole(study: Mapping[str, Any]) -> bool:
  """Whether all that is read of `study.json` is what it should be."""
  definition, tuning = study.get('definition'), study.get('tuning') or {}
  makers = study.get('provenance') or []
  speeds_ = study.get('seconds_per_update') or {}
  return (
    isinstance(definition, dict)
    and isinstance(definition.get('study'), str)
    and isinstance(definition.get('conditions'), dict)
    and all(map(_has_task, definition['conditions'].values()))
    and _has_budget(definition.get('tuning'))
    and isinstance(study.get('arms'), list)
    and all(isinstance(arm, str) for arm in study['arms'])
    and isinstance(study.get('conditions') or {}, dict)
    and isinstance(tuning, dict)
    and all(_is_tuning(each) for each in tuning.values())
    and isinstance(makers, list)
    and all(_is_provenance(each) for each in makers)
    and isinstance(speeds_, dict)
    and all(_are_numbers(each) for each in speeds_.values())
  )


def _has_task(condition: Any) -> bool:
  return isinstance(condition, dict) and _is_task(condition.get('task') or {})


def _is_task(task: Any) -> bool:
  return (
    isinstance(task, dict)
    and isinstance(task.get('stream') or '', str)
    and isinstance(task.get('tasks', 0), int)
  )


def _has_budget(tuning: Any) -> bool:
  """Whether this is no tuning, or one that says how much each arm gets."""
  if tuning is None:
    return True
  if not isinstance(tuning, dict):
    return False
  budget, tasks = tuning.get('budget', {}), tuning.get('tasks') or {}
  return (
    isinstance(budget, dict)
    and isinstance(budget.get('rates', 0), int)
    and isinstance(tasks, dict)
    and all(map(_is_task, tasks.values()))
  )


def _is_tuning(found: Any) -> bool:
  return (
    isinstance(found, dict)
    and all(
      isinstance(found.get(f'rates_added_{where}', 0), int)
      for where in ('below', 'above')
    )
    and isinstance(found.get('numbers') or {}, dict)
    and all(map(_are_numbers, (found.get('numbers') or {}).values()))
  )


def _are_numbers(found: Any) -> bool:
  """Whether these are numbers by name."""
  return isinstance(found, dict) and all(map(_is_number, found.values()))


def _is_number(found: Any) -> bool:
  return isinstance(found, int | float) and abs(found) <= sys.float_info.max


def _is_provenance(found: Any) -> bool:
  return (
    isinstance(found, dict)
    and isinstance(found.get('command') or [], list)
    and all(isinstance(x, str) for x in found.get('command') or [])
    and isinstance(found.get('versions') or {}, dict)
    and isinstance(found.get('hardware') or {}, dict)
  )


def _refuse_foreign(path: Path) -> None:
  try:
    if path.exists() and not path.is_dir():
      raise StudyDirectoryError(f'--workdir={path} is not a directory.')
    if not path.exists() or read(path) is not None:
      return
    # What is left where a process was killed before it could say whose it is.
    harmless = {_LOCK, files.temporary_of(path / FILE).name}
    strangers = sorted({p.name for p in path.iterdir()} - harmless)
  except OSError as e:
    raise StudyDirectoryError(
      f'--workdir={path} cannot be read ({e.strerror}).'
    ) from e
  if FILE in strangers:
    raise StudyDirectoryError(
      f'{path / FILE} is damaged, or of another program; name an empty or a '
      'new directory.'
    )
  if strangers:
    raise StudyDirectoryError(
      f'--workdir={path} holds files but no study ({strangers[0]!r}, …); name '
      'an empty or a new directory.'
    )


def _differences(there: Any, here: Any, name: str = '') -> list[str]:
  """In words, where two definitions differ."""
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
  return [f'{name}: {_short(there)} there, {_short(here)} here']


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 60 else 'something'
