"""Checksums of a folder's files, kept in the folder: what shows damage.

The file of checksums is one line that is the checksum of all others, then a
line for each file. Whatever is changed in it, or cut from it, shows.
"""

import hashlib
from pathlib import Path

FILE = 'checksums.sha256'


def write(folder: Path) -> None:
  """Writes the checksums of all files below a folder."""
  names = sorted(
    path.relative_to(folder).as_posix()
    for path in folder.rglob('*')
    if path.is_file()
  )
  body = ''.join(f'{of_file(folder / name)}  {name}\n' for name in names)
  (folder / FILE).write_bytes(_digest(body.encode()) + body.encode())


def fault(folder: Path) -> str | None:
  """Says what is wrong with a folder, None if all its files are as they were.

  Files that were not there when the checksums were written are ignored.

  Args:
    folder: where `write` left the checksums.

  Returns:
    A clause that names the first file that is missing or damaged.
  """
  name = FILE
  try:
    content = (folder / FILE).read_bytes()
    head, newline, body = content.partition(b'\n')
    if _digest(body) != head + newline:
      return f'{FILE} is damaged'
    for line in body.decode().splitlines():
      digest, _, name = line.partition('  ')
      if Path(name).is_absolute() or '..' in Path(name).parts:
        return f'{FILE} names {name!r}, which is elsewhere'
      if of_file(folder / name) != digest:
        return f'{name} is damaged'
  except FileNotFoundError:
    return f'{name} is missing'
  except OSError as e:
    return f'{name} cannot be read ({e.strerror})'
  except ValueError:  # Its checksum is right, and it is no list of files.
    return f'{FILE} is damaged'
  return None


def of_file(path: Path) -> str:
  """The SHA-256 of a file's content."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _digest(body: bytes) -> bytes:
  return hashlib.sha256(body).hexdigest().encode() + b'\n'
