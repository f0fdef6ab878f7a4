"""What the disk refuses, told in one sentence that names the path."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import re

from experiments import errors

# TensorStore and array_record raise a ValueError or a RuntimeError of it.
_CODE = re.compile(r"os_error_code='(\d+)'|OS error (\d+)")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
  """Around what writes a file or a folder.

  Args:
    path: what is written.

  Yields:
    Nothing.

  Raises:
    StorageError: the system refuses; any other error passes.
  """
  try:
    yield
  except errors.UserError:
    raise
  except Exception as e:
    reason = refusal(e)
    if reason is None:
      raise
    raise errors.StorageError(f'cannot write {path}: {reason}') from e


def refusal(error: BaseException) -> str | None:
  """What the system said if it caused an error; None if it did not."""
  if isinstance(error, OSError):
    return error.strerror or str(error)
  if match := _CODE.search(str(error)):
    return os.strerror(int(match[1] or match[2]))
  return None
