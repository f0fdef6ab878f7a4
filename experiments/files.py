"""Files and folders that appear whole or not at all, and are read back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import csv
import fcntl
import io
import json
import math
import os
from pathlib import Path
import shutil
from typing import Any

from experiments import errors


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
  """Raises a `StorageError` that names what the system refuses to write."""
  try:
    yield
  except OSError as e:
    raise errors.StorageError(f'cannot write {path}: {reason(e)}.') from e


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Raises a `StorageError` that names what cannot be read, and says why."""
  try:
    yield
  except errors.UserError:
    raise
  except Exception as e:
    raise errors.StorageError(f'cannot read {path}: {reason(e)}.') from e


def reason(error: BaseException) -> str:
  """What an error says, on one line."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return f'{type(error).__name__}: {error}'.splitlines()[0][:200].rstrip('.')


def temporary_of(path: Path) -> Path:
  """Where a file or a folder is written until it is complete."""
  return path.with_name(f'.{path.name}.tmp')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Puts a file or a folder in its place once it is complete.

  Args:
    path: the file or folder. A folder must not be there yet.

  Yields:
    The path to write to, beside the other. After an error it is removed.
  """
  temporary = temporary_of(path)
  with writing(path):
    try:
      yield temporary
      temporary.replace(path)
    except BaseException:
      with contextlib.suppress(OSError):
        remove(temporary)
      raise


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
  """Locks a file, which the system unlocks however the process ends.

  Yields whether it is ours, which it always is if `wait` has this process wait
  for others, and on file systems without locks.
  """
  ours = True
  with path.open('a') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      ours = False
    except OSError:
      pass  # There are no locks here.
    yield ours


def remove(path: Path) -> None:
  """Removes a file, a link, or a folder with all in it, if it is there."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
  """Writes a UTF-8 file so that a reader or a crash sees all of it or none."""
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


def read_json(path: Path) -> Any:
  """Reads a JSON file."""
  with reading(path):
    return json.loads(path.read_text(encoding='utf-8'))


def write_table(
  path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
  """Writes these columns of the rows as a CSV file."""
  text = io.StringIO()
  writer = csv.DictWriter(
    text, columns, extrasaction='ignore', lineterminator='\n'
  )
  writer.writeheader()
  writer.writerows(rows)
  write_text(path, text.getvalue())


def write_rows(
  folder: Path,
  name: str,
  columns: Sequence[str],
  rows: Sequence[Mapping[str, Any]],
) -> None:
  """Writes `NAME.csv` with these columns, and all of the rows as `NAME.jsonl`.

  JSON has null for NaN and infinity.
  """
  write_table(folder / f'{name}.csv', columns, rows)
  lines = ''.join(json.dumps(_finite(row)) + '\n' for row in rows)
  write_text(folder / f'{name}.jsonl', lines)


def _finite(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _finite(x) for key, x in value.items()}
  if isinstance(value, list):
    return [_finite(x) for x in value]
  # JSON knows no others.
  return value if not isinstance(value, float) or math.isfinite(value) else None
