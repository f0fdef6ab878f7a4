"""What of a directory must not depend on how its program was disturbed."""

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

from experiments.training import checkpoints


def of(path: Path) -> dict[str, Any]:
  """By path, tables and results without clocks; by arm, the last state.

  How often a run saves is left out, too.
  """
  found: dict[str, Any] = {}
  for file in sorted(path.rglob('*')):
    name = str(file.relative_to(path))
    if file.suffix in ('.csv', '.jsonl'):
      found[name] = rows(file)
    elif file.name in ('results.json', 'outcome.json', 'config.json'):
      found[name] = _timeless(json.loads(file.read_text()))
      found[name].pop('checkpoint_every', None)
  for saved in path.glob('checkpoints/*'):
    found[saved.name] = state(saved)
  return found


def rows(path: Path) -> list[dict[str, Any]]:
  """Those of a table, as text where it is a CSV file, without clocks."""
  with path.open(newline='') as text:
    table = csv.DictReader(text) if path.suffix == '.csv' else text
    each = [x if isinstance(x, dict) else json.loads(x) for x in table]
  return [_timeless(x) for x in each if 'seconds' not in x.get('measure', '')]


def _timeless(value: Any) -> Any:
  if isinstance(value, dict):
    return {k: _timeless(x) for k, x in value.items() if 'seconds' not in k}
  return [_timeless(x) for x in value] if isinstance(value, list) else value


def state(saved: Path) -> tuple[int, dict[str, Any]] | None:
  """The number and every array of an arm's last checkpoint, to the last bit."""
  with contextlib.closing(checkpoints.Checkpoints(saved)) as found:
    restored = found.restore()
  return restored and (
    restored[0],
    {name: (x.dtype, x.shape, x.tobytes()) for name, x in restored[1].items()},
  )
