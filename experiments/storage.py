"""What the disk refuses."""

import errno
import os
from pathlib import Path

# What a checkpoint has besides its arrays, generously.
_FILES, _MARGIN = 40, 2**18
# Of the disk, not of a path that somebody named.
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def no_folder(path: Path) -> str | None:
  """Why there cannot be a folder at a path; None if there is, or can be, one.

  Raises:
    OSError: the system does not even look.
  """
  for each in (path, *path.parents):
    if each.is_symlink() and not each.exists():
      return f'{each} is a link to {os.readlink(each)}, which does not exist'
    if each.exists() and not each.is_dir():
      return f'{each} is not a directory'
  return None


def check_room(folder: Path, size: int) -> None:
  """Fails where a folder cannot take what is going to be written.

  For writers that fail badly: TensorStore's threads print what they meet.

  Args:
    folder: where it goes.
    size: how many bytes there will be, not counting what is around them.

  Raises:
    OSError: the system does not take so many bytes, or files.
  """
  found = os.statvfs(folder)
  # Some file systems do not count files.
  if found.f_files and found.f_favail < _FILES:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  if not hasattr(os, 'posix_fallocate'):
    return
  probe = folder / 'probe'
  try:
    with probe.open('wb') as file:
      os.posix_fallocate(file.fileno(), 0, size + _MARGIN)
  except OSError as e:
    if e.errno in REFUSALS:
      raise
  finally:
    probe.unlink(missing_ok=True)


def refusal(error: BaseException) -> str | None:
  """What the system said if it caused an error; None if it did not."""
  if isinstance(error, OSError):
    return error.strerror or str(error)
  # TensorStore and array_record make other errors of it, with its words.
  reasons = (os.strerror(code) for code in sorted(REFUSALS))
  return next((each for each in reasons if each in str(error)), None)
