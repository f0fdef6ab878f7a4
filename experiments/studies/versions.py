"""The version of the code that a result depends on: a hash of its sources."""

import ast
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
  """The SHA-256 of all sources, and of the versions of what they stand on.

  Comments, docstrings and the layout do not count, so that a mended sentence
  makes no study stale.
  """
  digest = hashlib.sha256()
  for source in _SOURCES:
    path = _ROOT / source
    for each in sorted(path.rglob('*.py')) if path.is_dir() else [path]:
      name = each.relative_to(_ROOT).as_posix()
      digest.update(
        f'{name}\n{_meaning(each.read_text(encoding="utf-8"))}\n'.encode()
      )
  for name in _PACKAGES:
    digest.update(f'{name} {importlib.metadata.version(name)}\n'.encode())
  return digest.hexdigest()


def _meaning(source: str) -> str:
  """The syntax of a module, without comments and docstrings."""
  tree = ast.parse(source)
  for node in ast.walk(tree):
    body = getattr(node, 'body', None)
    if isinstance(body, list):
      body[:] = [x for x in body if not _is_text(x)]
  return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
  """Whether it is a string that stands alone: a docstring, or a comment."""
  match node:
    case ast.Expr(value=ast.Constant(value=str())):
      return True
  return False
