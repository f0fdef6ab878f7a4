"""JSON that anybody may have written."""

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
  """The value in a JSON file.

  Args:
    path: the file.

  Returns:
    The value.

  Raises:
    OSError: it cannot be read.
    ValueError: it is no JSON, or nested deeper than Python reads.
  """
  return parse(path.read_text(encoding='utf-8'))


def parse(text: str | bytes) -> Any:
  """The value that a text is in JSON; ValueError if it is none."""
  try:
    return json.loads(text)
  except RecursionError as e:
    raise ValueError('it is nested too deep') from e
