"""What the command line of a study may say."""

from collections.abc import Sequence
from pathlib import Path

from experiments import errors
from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies import directory
from experiments.studies.declarations import Study
from experiments.studies.plan import Share


def study(
  names: Sequence[str], only: Sequence[str] | None, *, smoke: bool
) -> Study:
  """The study of a name, made tiny if that was asked for.

  Args:
    names: what the command line holds besides flags.
    only: the arms that were asked for; None for all.
    smoke: whether it is to be tiny.

  Raises:
    InvalidValueError: there is no such study, or it has no such arm.
  """
  known = ', '.join(catalogue.STUDIES)
  if len(names) != 1:
    given = ' '.join(names) or 'none'
    raise errors.InvalidValueError(
      f'give the name of one study, of {known}; got {given}.'
    )
  if names[0] not in catalogue.STUDIES:
    raise errors.InvalidValueError(
      f'NAME must be one of {known}, got {names[0]!r}.'
    )
  found = catalogue.STUDIES[names[0]]
  if only is not None:
    arms = found.all_arms
    unknown = [arm for arm in only if arm not in arms]
    if unknown or not only or len(set(only)) < len(only):
      raise errors.InvalidValueError(
        f'--only must name arms of the study {found.name}, each once, of '
        f'{", ".join(arms)}; got {",".join(only)!r}.'
      )
  return declarations.smoke(found, only or ()) if smoke else found


def share(shard: str | None, only: Sequence[str] | None) -> Share:
  """What of a study this process computes.

  Raises:
    InvalidValueError: the shard is none.
  """
  arms = tuple(only or ())
  if shard is None:
    return Share(only=arms)
  parts = shard.split('/')
  if len(parts) == 2 and all(part.isdecimal() for part in parts):
    index, count = map(int, parts)
    if 1 <= index <= count:
      return Share(index, count, arms)
  raise errors.InvalidValueError(
    f'--shard must be i/n with 1 ≤ i ≤ n, got {shard!r}.'
  )


def jobs(given: int) -> int:
  """How many processes compute.

  Raises:
    InvalidValueError: there cannot be so many.
  """
  if given < 1:
    raise errors.InvalidValueError(f'--jobs must be ≥ 1, got {given}.')
  return given


def reused(names: Sequence[str]) -> list[Path]:
  """The folders of cells of other study directories.

  Raises:
    InvalidValueError: a name is not that of a study directory.
  """
  for name in names:
    if directory.read(Path(name)) is None:
      raise errors.InvalidValueError(
        f'--reuse must name study directories, got {name!r}.'
      )
  return [Path(name) / directory.CELLS for name in names]
