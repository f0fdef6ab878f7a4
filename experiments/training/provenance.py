"""Where results come from: command, commit, versions, hardware, times."""

import datetime
import importlib.metadata
import os
from pathlib import Path
import platform
import subprocess
import sys
from typing import Any

import jax

from experiments import files

FILE = 'provenance.json'
_PACKAGES = (
  'neuroplastic-optax',
  *('jax', 'jaxlib', 'optax', 'flax', 'orbax-checkpoint'),
  *('numpy', 'tensorflow-datasets'),
)


def begin(workdir: Path) -> None:
  """Writes who makes the results in a run directory, and from when on.

  What an earlier process wrote there, whose run is resumed, is kept under
  `earlier`.
  """
  this, path = collect(), workdir / FILE
  if path.exists():
    with files.reading(path):
      before = files.read_json(path)
      this['earlier'] = [*before.pop('earlier', []), before]
      this['start'] = this['earlier'][0]['start']
  files.write_json(path, this)


def end(workdir: Path) -> None:
  """Writes when the results were complete."""
  path = workdir / FILE
  files.write_json(path, {**files.read_json(path), 'end': now()})


def collect() -> dict[str, Any]:
  """What can be known of this process; None where it cannot."""
  return {
    'command': [Path(sys.executable).name, *sys.orig_argv[1:]],
    'commit': _commit(),
    'versions': {
      'python': platform.python_version(),
      **{name: _version(name) for name in _PACKAGES},
    },
    'hardware': {
      'devices': jax.device_count(),
      'device': jax.devices()[0].device_kind,
      'processes': jax.process_count(),
      'processor': _processor(),
      'cores': os.cpu_count(),
      'system': platform.platform(),
    },
    'start': now(),
    'end': None,
  }


def now() -> str:
  """The time, as files say it.

  Processes that do the same are told apart by their start, so that a second
  would be too coarse.
  """
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='microseconds')


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit of the checkout, with a + where files differ from it."""
  root = Path(__file__).parents[2]
  try:
    commit, changes = (
      subprocess.run(
        ['git', *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
      ).stdout.strip()
      for arguments in (
        ('rev-parse', 'HEAD'),
        ('status', '--porcelain', '--untracked-files=no'),
      )
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return commit + ('+' if changes else '')


def _processor() -> str | None:
  try:
    lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
  except OSError:
    return platform.processor() or None
  names = [x.partition(':')[2].strip() for x in lines if 'model name' in x]
  return names[0] if names else platform.machine()
