"""Checks the command line of a study."""

from collections.abc import Sequence
from pathlib import Path

from experiments import errors
from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies import directory
from experiments.studies.declarations import Study
from experiments.studies.plan import Share


def study(names: Sequence[str], *, smoke: bool) -> Study:
  """The study of a name, made tiny if that was asked for.

  Args:
    names: what the command line holds besides flags.
    smoke: whether it is to be tiny.

  Raises:
    InvalidValueError: there is no such study.
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
  return declarations.smoke(found) if smoke else found


def arms(
  study_: Study, only: Sequence[str] | None, *, smoke: bool
) -> tuple[str, ...]:
  """The arms that this process is about.

  Args:
    study_: the study.
    only: the arms that were asked for; None if nobody did.
    smoke: whether the study is tiny, and so has few arms by default.

  Raises:
    InvalidValueError: the study has no such arm.
  """
  known = study_.all_arms
  if only is None:
    few = tuple(arm for arm in known if arm in declarations.SMOKE_ARMS)
    return few if smoke and few else known
  if not only or len(set(only)) < len(only) or not set(only) <= set(known):
    raise errors.InvalidValueError(
      f'--only must name arms of the study {study_.name}, each once, of '
      f'{", ".join(known)}; got {",".join(only)!r}.'
    )
  return tuple(only)


def share(shard: str | None, only: tuple[str, ...]) -> Share:
  """What of a study this process computes.

  Args:
    shard: i/n; None for all.
    only: the arms that it is about.

  Raises:
    InvalidValueError: the shard is none.
  """
  if shard is None:
    return Share(only)
  parts = shard.split('/')
  if len(parts) == 2 and all(part.isdecimal() for part in parts):
    index, count = map(int, parts)
    if 1 <= index <= count:
      return Share(only, index, count)
  raise errors.InvalidValueError(
    f'--shard must be i/n with 1 ≤ i ≤ n, got {shard!r}.'
  )


def reused(names: Sequence[str]) -> list[Path]:
  """The directories of other studies.

  Raises:
    InvalidValueError: a name is not that of a study directory.
  """
  for name in names:
    if directory.read(Path(name)) is None:
      raise errors.InvalidValueError(
        f'--reuse must name study directories, got {name!r}.'
      )
  return [Path(name) for name in names]
