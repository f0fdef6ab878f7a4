"""A study directory: whose it is, what study it holds, and its tables.

Several processes may work in one, as shards of a study do: what they share is
written under a lock, and each file appears whole.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from experiments import errors
from experiments import files
from experiments.studies import tables
from experiments.studies import versions
from experiments.studies.declarations import Study
from experiments.studies.known import Known
from experiments.studies.plan import Plan
from experiments.studies.speeds import Speeds
from experiments.training import provenance
from experiments.workdir import Workdir

FILE, CELLS = 'study.json', 'cells'
# Raised when what is read of the directory changes its meaning. A new column
# of a table or a new entry does not: it is absent where the study is older.
FORMAT = 1


class StudyDirectory:
  """A study directory, of which nothing is touched before `claim`.

  Attributes:
    path: where it is.
    arms: those of the study that are in it, with those of this process.
  """

  def __init__(
    self, path: Path, study: Study, arms: Sequence[str], *, smoke: bool
  ) -> None:
    """Looks at a directory, or at nothing; `arms` are those of this process.

    Raises:
      UserError: it holds something else.
    """
    self.path = path
    self._workdir = _workdir(path)
    # As they are read back.
    self._definition = json.loads(
      json.dumps({'study': study.name, 'smoke': smoke, **study.definition()})
    )
    self._workdir.check()
    there = []
    if found := read(path):
      self._workdir.refuse_other(found['definition'], self._definition)
      there = found['arms']
    self.arms = tuple(
      arm for arm in study.all_arms if arm in arms or arm in there
    )

  def claim(self) -> None:
    """Makes the directory, and writes what study it holds."""
    with self._workdir.locked(wait=True):
      before = self._workdir.mark() or {}
      self._workdir.refuse_other(
        before.get('definition', self._definition), self._definition
      )
      self._workdir.write(
        {
          **before,
          'definition': self._definition,
          'arms': list(self.arms),
          'code': versions.code(),
          'provenance': [*before.get('provenance', []), provenance.collect()],
          'end': None,
        }
      )

  def write_tables(self, plan: Plan, measured: Speeds | None = None) -> None:
    """Writes the tables, the tuning, and the speeds that are new."""
    with self._workdir.locked(wait=True):
      items = plan.items()
      outcomes = [plan.outcome(item.cell) for item in items]
      there = sum(each is not None for each in outcomes)
      done = there == len(items)
      found = read(self.path) or {}
      speeds = {**self.speeds(), **(measured or {})}
      made = tables.make(plan, speeds)
      made.write(self.path)
      reused: dict[Path, list[str]] = {}
      for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, Known):
          reused.setdefault(outcome.folder, []).append(item.label)
      others = [*(cells.parent for cells in plan.store.givers), *reused]
      end = (found.get('end') or provenance.now()) if done else None
      self._workdir.write(
        {
          **found,
          'provenance': _makers(found, others),
          # Which rows are of the tables of another study.
          'reused': {
            load(folder)['definition']['study']: labels
            for folder, labels in reused.items()
          },
          'cells': {'planned': len(items), 'finished': there},
          'tuning': made.tuning,
          'conditions': made.conditions,
          'seconds_per_update': speeds,
          'end': end,
        },
      )

  def speeds(self) -> Speeds:
    """How long updates take, as far as it was measured."""
    return (read(self.path) or {}).get('seconds_per_update') or {}


def _workdir(path: Path) -> Workdir:
  return Workdir(path, 'study', 'study', FILE, FORMAT)


def read(path: Path) -> dict[str, Any] | None:
  """What `study.json` says; None if there is none.

  Raises:
    StorageError: it does not define a study, or cannot be read.
  """
  found = _workdir(path).mark()
  if found is not None:
    with files.reading(path / FILE):
      _ = found['definition']['study'], found['definition']['conditions']
      _ = found['arms']
  return found


def load(path: Path) -> dict[str, Any]:
  """The same; a `StorageError` if there is none."""
  found = read(path)
  if found is None:
    raise errors.StorageError(
      f'{path} is no study directory: it has no {FILE} that '
      '`python -m experiments.study` wrote.'
    )
  return found


def _makers(
  study: Mapping[str, Any], givers: Sequence[Path]
) -> list[Mapping[str, Any]]:
  """What made the results: first the runs of studies that gave some."""
  own = list(study.get('provenance') or [])
  others: list[Mapping[str, Any]] = []
  for folder in givers:
    others += (read(folder) or {}).get('provenance') or []
  return [*(each for each in others if each not in own), *own]
