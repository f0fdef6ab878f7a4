"""What the programs share: how they start, speak, and say what is wrong."""

from collections.abc import Callable, Sequence
import functools
import io
import os
from pathlib import Path
import sys

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
    sys.exit(f'error: {" ".join(str(e).split())}')


def define_folder(name: str, help_: str) -> None:
  """Defines a flag that names a folder, in which there may be nothing yet."""
  flags.DEFINE(_FolderParser(), name, None, help_)


def define_data_dir() -> None:
  """Defines --data_dir."""
  define_folder(
    'data_dir',
    'The folder of prepared data sets. Default: $TFDS_DATA_DIR, or '
    '~/.cache/neuroplastic_optax/tfds.',
  )


class _FolderParser(flags.ArgumentParser):
  """Refuses what cannot be a folder, before a program begins its work."""

  def parse(self, argument: str) -> str:
    """The path, in which the shell leaves the ~ of --workdir=~/x as it is."""
    path = Path(os.path.expanduser(argument))
    try:
      for each in (path, *path.parents):
        if (each.is_symlink() or each.exists()) and not each.is_dir():
          raise ValueError(f'{each} is not a directory')
    except OSError as e:
      raise ValueError(e.strerror) from e
    if not argument:
      raise ValueError('must name a folder')
    return str(path)


def run(
  main: Callable[[Sequence[str]], None], *, positional: bool = False
) -> None:
  """Runs a program; what a user did wrong ends it with one sentence, status 1.

  Args:
    main: takes what the command line holds besides flags. It may raise a
      `UserError`.
    positional: whether there may be anything besides flags.
  """
  interrupts.end_at_once()
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      # One that is not UTF-8 (cron, bare containers) shows ? for → and ±.
      stream.reconfigure(errors='replace')
  app.run(functools.partial(_main, main, positional), flags_parser=_parse)


def set_up_jax() -> None:
  """Sets what the programs rely on, whatever JAX_ENABLE_X64 and such say."""
  if 'jax' in sys.modules:  # Not all programs import it.
    import jax

    for name, value in _JAX.items():
      jax.config.update(name, value)


def _main(
  main: Callable[[Sequence[str]], None],
  positional: bool,
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
    sys.exit(f'error: {e}')
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
    sys.exit(f'error: {where}{e.strerror}.')


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses the flags; what is wrong with them is one sentence."""
  logging.set_verbosity(logging.ERROR)  # We say it ourselves.
  try:
    rest = flags.FLAGS(list(argv))
    if CONFIG in flags.FLAGS:
      dict(getattr(flags.FLAGS, CONFIG))  # Reads the file, if not done before.
    return rest
  except Exception as e:  # Whatever the code in the user's file raises.
    if isinstance(e, flags.Error) and _TRACEBACK not in str(e):
      sys.exit(
        f'error: {" ".join(str(e).split())} (--helpfull lists all flags).'
      )
    # The last line is the reason; the others are what ml_collections tried.
    reason = f'{type(e).__name__}: {e}'.splitlines()[-1].strip()
    sys.exit(
      f'error: --{CONFIG} must name a Python file that defines get_config(), '
      f'which returns an ml_collections.ConfigDict ({reason}).'
    )


def console() -> Console:
  """Where a program speaks. Paths are no markup, whatever they hold."""
  return Console(highlight=False, markup=False, emoji=False)


def wide_console() -> Console:
  """A console for tables of many columns; a file has no width of its own."""
  wide = console()
  if not wide.is_terminal:
    wide.width = 150
  return wide
