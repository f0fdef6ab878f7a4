"""Checks the command line of a study.

Each function raises an `InvalidValueError` that names the flag, its value, and
what is allowed.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import errors
from experiments.studies import catalogue
from experiments.studies import declarations
from experiments.studies import directory
from experiments.studies.declarations import Study
from experiments.studies.plan import Share


def study(names: Sequence[str], *, smoke: bool) -> Study:
  """The study that the command line names, made tiny with --smoke."""
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
  """The arms of --only; without it all, or few if the study is tiny."""
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
  """The cells of these arms that this process computes, by --shard."""
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
  """The study directories of --reuse."""
  for name in names:
    if directory.read(Path(name)) is None:
      raise errors.InvalidValueError(
        f'--reuse must name study directories, got {name!r}.'
      )
  return [Path(name) for name in names]
