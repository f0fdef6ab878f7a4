"""Strict promotion of dtypes, as far as Optax allows it."""

from collections.abc import Callable
import pathlib
import traceback

import jax


def strictly(check: Callable[[], None]) -> None:
  """Runs a check under strict promotion of dtypes, unless Optax promotes.

  Optax does: the bias correction of its Adam is an integer power, for example.
  Such a check runs as usual. What this library or a test promotes is an error.
  """
  try:
    with jax.numpy_dtype_promotion('strict'):
      check()
  except ValueError as e:
    # Its class is not public.
    if type(e).__name__ != 'TypePromotionError' or not _in_optax(e):
      raise
    check()


def _in_optax(error: Exception) -> bool:
  """Whether Optax is what called JAX, which raised the error."""
  frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
  folders = [
    set(pathlib.Path(frame.f_code.co_filename).parts) for frame in frames
  ]
  callers = [each for each in folders if not each & {'jax', '_jax', '<string>'}]
  return bool(callers) and 'optax' in callers[-1]
