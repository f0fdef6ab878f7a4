"""Files that appear whole or not at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from experiments import storage


def temporary_of(path: Path) -> Path:
  """Where a file is written, to be renamed once it is complete."""
  return path.with_name(f'.{path.name}.tmp')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Around what writes a file, so that all of it appears or nothing.

  Args:
    path: the file.

  Yields:
    The path to write to. At the end it takes the place of the file; after an
    error it is gone.

  Raises:
    WritingError: the system refuses.
  """
  temporary = temporary_of(path)
  with storage.writing(path):
    try:
      yield temporary
      temporary.replace(path)
    except Exception:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
      raise


def write_text(path: Path, text: str) -> None:
  """Writes a file so that a reader, or a crash, sees all of it or nothing."""
  write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
  """Writes a file of bytes in the same way."""
  with replacing(path) as temporary, temporary.open('wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
  """Writes a value as indented JSON."""
  write_text(path, json.dumps(value, indent=2) + '\n')


def write_table(
  path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
  """Writes a CSV file of these columns; what else the rows hold is left out."""
  write_text(path, table(columns, rows))


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
  """The text of such a file."""
  text = io.StringIO()
  writer = csv.DictWriter(
    text, columns, extrasaction='ignore', lineterminator='\n'
  )
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes one object a line, with null for NaN and infinity."""
  write_text(path, ''.join(json.dumps(_finite(row)) + '\n' for row in rows))


def _finite(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _finite(x) for key, x in value.items()}
  if isinstance(value, list):
    return [_finite(x) for x in value]
  # JSON knows no others.
  return value if not isinstance(value, float) or math.isfinite(value) else None
