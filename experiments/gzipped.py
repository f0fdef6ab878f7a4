"""Files that may be gzipped, by anybody."""

import gzip
from pathlib import Path
import zlib

SUFFIX = '.gz'


def read(path: Path, most: int) -> bytes:
  """The content of a file; unpacked, if the file's name ends in `.gz`.

  Args:
    path: the file.
    most: how many bytes it may hold, unpacked: a small file can unpack to any
      size.

  Returns:
    The content.

  Raises:
    OSError: it cannot be read.
    ValueError: it is damaged, or holds more than it may.
  """
  if path.suffix != SUFFIX:
    return path.read_bytes()
  try:
    with gzip.open(path) as file:
      content = file.read(most + 1)  # To the end, where the checksum is.
  except (EOFError, gzip.BadGzipFile, zlib.error) as e:
    raise ValueError(str(e)) from e
  if len(content) > most:
    raise ValueError(f'it holds more than {most:,} bytes')
  return content
