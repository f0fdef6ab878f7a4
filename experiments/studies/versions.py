"""The version of the code that a result depends on: a hash of its sources."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SOURCES = (
  'neuroplastic_optax',
  *(f'experiments/{x}' for x in ('data', 'models', 'optimizers', 'training')),
  'experiments/studies/computing.py',
)
_PACKAGES = ('jax', 'jaxlib', 'optax', 'flax', 'numpy')


@functools.cache
def code() -> str:
  """The SHA-256 of all sources, and of the versions of what they stand on."""
  digest = hashlib.sha256()
  for path in _files():
    content = path.read_bytes()
    name = path.relative_to(_ROOT).as_posix()
    digest.update(f'{name} {len(content)}\n'.encode() + content)
  for name in _PACKAGES:
    digest.update(f'{name} {importlib.metadata.version(name)}\n'.encode())
  return digest.hexdigest()


def _files() -> list[Path]:
  found: list[Path] = []
  for name in _SOURCES:
    path = _ROOT / name
    found += sorted(path.rglob('*.py')) if path.is_dir() else [path]
  return found
