"""What the programs share: how they start, speak, and say what is wrong."""

from collections.abc import Callable, Sequence
import functools
from pathlib import Path
import sys

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags
from rich.console import Console

from experiments import errors

CONFIG = 'config'


def define_config(name: str) -> None:
  """Defines --config, with a file of `experiments.configs` as its default."""
  try:
    config_flags.DEFINE_config_file(
      CONFIG,
      str(Path(__file__).with_name('configs') / f'{name}.py'),
      'The configuration; override a field by --config.field=value.',
      # Unknown fields are refused in a sentence, by `configs.fields`.
      lock_config=False,
      accept_new_attributes=True,
    )
  except KeyError as e:
    # It looks for the groups of fields on the command line already now.
    sys.exit(
      f'error: --{CONFIG}.…: there is no group of settings {e.args[0]}; '
      '--helpfull lists them.'
    )


def run(
  main: Callable[[Sequence[str]], None], *, positional: bool = False
) -> None:
  """Runs a program; what a user did wrong ends it with one sentence.

  Args:
    main: takes what the command line holds besides flags. It may raise a
      `UserError`.
    positional: whether there may be anything besides flags.
  """
  app.run(functools.partial(_main, main, positional), flags_parser=_parse)


def _main(
  main: Callable[[Sequence[str]], None], positional: bool, argv: Sequence[str]
) -> None:
  if not flags.FLAGS['verbosity'].present:
    # Orbax and TFDS tell of every file at the level that absl shows by default.
    logging.set_verbosity(logging.WARNING)
  try:
    if len(argv) > 1 and not positional:
      raise errors.UserError(
        f'unexpected arguments: {" ".join(argv[1:])} (flags are written '
        '--name=value).'
      )
    main(argv[1:])
  except errors.UserError as e:
    sys.exit(f'error: {e}')


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses the flags; a configuration that cannot be read is one sentence."""
  try:
    rest = app.parse_flags_with_usage(list(argv))
    if CONFIG in flags.FLAGS:
      dict(getattr(flags.FLAGS, CONFIG))  # Reads the file.
    return rest
  except OSError as e:
    # The last line is the reason, the others what ml_collections tried.
    sys.exit(f'error: --{CONFIG}: {str(e).splitlines()[-1].strip()}')
  except Exception as e:  # Whatever the code in the user's file raises.
    sys.exit(
      f'error: --{CONFIG} must name a Python file that defines get_config() '
      f'({type(e).__name__}: {str(e).splitlines()[0] if str(e) else "?"}).'
    )


def output_folder(name: str) -> Path:
  """The folder that --workdir names, made if need be.

  Raises:
    InvalidValueError: it cannot be.
  """
  # The shell leaves the ~ of --workdir=~/x as it is.
  path = Path(name).expanduser()
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise errors.InvalidValueError(
      f'--workdir must be a folder that can be written to, got {name!r} '
      f'({e.strerror}).'
    ) from e
  return path


def console(*, quiet: bool = False) -> Console:
  """Where a program speaks. Paths are no markup, whatever they hold."""
  return Console(highlight=False, markup=False, emoji=False, quiet=quiet)


def wide_console() -> Console:
  """A console for tables of many columns; a file has no width of its own."""
  wide = console()
  if not wide.is_terminal:
    wide.width = 150
  return wide
