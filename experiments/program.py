"""What the programs share: how they start, speak, and say what is wrong."""

from collections.abc import Callable, Sequence
import errno
import functools
import io
import os
from pathlib import Path
import sys
from typing import NoReturn

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags
from rich.console import Console

from experiments import errors
from experiments import interrupts

CONFIG = 'config'
# Of JAX; results do not depend on what the environment says instead.
_JAX = {
  'jax_enable_x64': False,
  'jax_disable_jit': False,
  'jax_numpy_dtype_promotion': 'standard',
  'jax_numpy_rank_promotion': 'allow',
  'jax_transfer_guard': 'allow',
  'jax_debug_nans': False,  # An arm may diverge.
  'jax_debug_infs': False,
}
_TRACEBACK = 'Traceback (most recent call last)'


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
  except flags.Error as e:  # A --flagfile that cannot be read.
    _fail(' '.join(str(e).split()), 1)


def run(
  main: Callable[[Sequence[str]], None],
  *,
  positional: bool = False,
  code: int = 1,
) -> None:
  """Runs a program; what a user did wrong ends it with one sentence.

  Args:
    main: takes what the command line holds besides flags. It may raise a
      `UserError`.
    positional: whether there may be anything besides flags.
    code: what the program exits with, at least, if a user did something wrong.
  """
  interrupts.end_at_once()
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      # One that is not UTF-8 (cron, bare containers) shows ? for → and ±.
      stream.reconfigure(errors='replace')
  app.run(
    functools.partial(_main, main, positional, code),
    flags_parser=functools.partial(_parse, code=code),
  )


def set_up_jax() -> None:
  """Sets what the programs rely on, whatever JAX_ENABLE_X64 and such say."""
  if 'jax' in sys.modules:  # Not all programs import it.
    import jax

    for name, value in _JAX.items():
      jax.config.update(name, value)


def _main(
  main: Callable[[Sequence[str]], None],
  positional: bool,
  code: int,
  argv: Sequence[str],
) -> None:
  if not flags.FLAGS['verbosity'].present:
    # Orbax and TFDS log every file, and warn of what a killed run left behind.
    logging.set_verbosity(logging.ERROR)
  set_up_jax()
  try:
    if len(argv) > 1 and not positional:
      raise errors.UserError(
        f'unexpected arguments: {" ".join(argv[1:])} (flags are written '
        '--name=value).'
      )
    main(argv[1:])
  except errors.UserError as e:
    _fail(str(e), max(e.code, code))
  except interrupts.StoppedError as e:
    print(
      f'stopped and saved: {e}. Run the same command to resume.',
      file=sys.stderr,
    )
    sys.exit(128 + e.number)
  except OSError as e:
    if e.errno is None:
      raise
    where = f'{e.filename}: ' if e.filename is not None else ''
    _fail(f'{where}{e.strerror}.', errors.StorageError.code)


def _fail(message: str, code: int) -> NoReturn:
  print(f'error: {message}', file=sys.stderr)
  sys.exit(code)


def _parse(argv: Sequence[str], code: int) -> list[str]:
  """Parses the flags; what is wrong with them is one sentence."""
  logging.set_verbosity(logging.ERROR)  # We say it ourselves.
  try:
    rest = flags.FLAGS(list(argv))
    if CONFIG in flags.FLAGS:
      dict(getattr(flags.FLAGS, CONFIG))  # Reads the file, if not done before.
    return rest
  except Exception as e:  # Whatever the code in the user's file raises.
    if isinstance(e, flags.Error) and _TRACEBACK not in str(e):
      _fail(f'{" ".join(str(e).split())} (--helpfull lists all flags).', code)
    # The last line is the reason; the others are what ml_collections tried.
    reason = f'{type(e).__name__}: {e}'.splitlines()[-1].strip()
    _fail(
      f'--{CONFIG} must name a Python file that defines get_config(), which '
      f'returns an ml_collections.ConfigDict ({reason}).',
      1,
    )


def folder(flag: str, name: str) -> Path:
  """The folder that a flag names.

  Args:
    flag: what the flag is called.
    name: its value.

  Returns:
    The path; there may be nothing yet.

  Raises:
    InvalidValueError: there cannot be a folder of that name.
  """
  if not name:
    raise errors.InvalidValueError(
      f'--{flag} must name a folder, got {name!r}.'
    )
  # The shell leaves the ~ of --workdir=~/x as it is.
  path = Path(os.path.expanduser(name))
  try:
    for each in (path, *path.parents):
      if (each.is_symlink() or each.exists()) and not each.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f'{each} is not a directory')
  except OSError as e:
    raise errors.InvalidValueError(f'--{flag}={name}: {e.strerror}.') from e
  return path


def output_folder(name: str) -> Path:
  """The folder that --workdir names, made if need be.

  Raises:
    InvalidValueError: it cannot be.
  """
  path = folder('workdir', name)
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
