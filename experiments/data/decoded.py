"""Decoded images, kept beside a prepared data set so that it loads fast.

Decoding 70,000 small pictures one by one takes seconds, reading their pixels a
fraction of one.
"""

from collections.abc import Callable
import contextlib
import hashlib
import pathlib
import uuid

import numpy as np

_NAME = '.decoded.npz'
_FINGERPRINT = 'fingerprint'

Arrays = dict[str, np.ndarray]


def cached(
  folder: str,
  decode: Callable[[], Arrays],
  fits: Callable[[Arrays], bool] = lambda arrays: True,
) -> Arrays:
  """Returns what `decode` makes of a folder, or an earlier call's copy of it.

  A copy is used only if it was made of these very files, and is whole. Where it
  cannot be written (a read-only or remote folder), the arrays are decoded at
  every call.

  Args:
    folder: of the files that are decoded.
    decode: reads and decodes them; the same files must give the same arrays.
    fits: whether arrays can be what it gives. Others may have made the copy.

  Returns:
    The arrays by name.
  """
  path = pathlib.Path(folder)
  try:
    fingerprint = _fingerprint(path)
  except OSError:
    return decode()
  arrays = _read(path / _NAME, fingerprint)
  if arrays is None or not fits(arrays):
    arrays = decode()
    _write(path / _NAME, fingerprint, arrays)
  return arrays


def _fingerprint(folder: pathlib.Path) -> str:
  """A hash of the names and contents of all files but hidden ones."""
  total = hashlib.sha256()
  for path in sorted(folder.iterdir()):
    if not path.name.startswith('.'):
      with path.open('rb') as file:
        content = hashlib.file_digest(file, 'sha256').hexdigest()
      total.update(f'{content} {path.name}\n'.encode())
  return total.hexdigest()


def _read(path: pathlib.Path, fingerprint: str) -> Arrays | None:
  """The arrays of a copy; None if it is missing, broken or of other files."""
  try:
    # np.load leaves a file open that is no archive; this one is closed.
    with path.open('rb') as stream, np.load(stream) as file:
      if str(file[_FINGERPRINT]) == fingerprint:
        # The checksum of each array is verified on the way.
        return {name: file[name] for name in file.files if name != _FINGERPRINT}
  # What is broken may look encrypted, compressed in a strange way, or huge.
  except Exception:
    return None
  return None


def _write(path: pathlib.Path, fingerprint: str, arrays: Arrays) -> None:
  """Writes a copy that is there whole or not at all, if it can be written."""
  temporary = path.with_name(f'{path.stem}.{uuid.uuid4().hex}.npz')
  with contextlib.suppress(OSError):
    try:
      np.savez(
        temporary,
        allow_pickle=False,
        **arrays,
        **{_FINGERPRINT: np.array(fingerprint)},
      )
      temporary.replace(path)
    finally:
      temporary.unlink(missing_ok=True)
